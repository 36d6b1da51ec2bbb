"""torch.compile where it is faster: the graph that it is given, and the decision whether its result is used.

The interpreter of ONNX files (`engines.gpu.onnx_torch`) computes shapes while it runs, and torch.compile breaks its
graph at each of them: it would make as many graphs as there are operations and fuse nothing. Therefore the operations
of the interpreter on tensors of one shape are recorded first, as one flat graph. Only `engines.gpu.torch_cuda` imports
this file; it needs PyTorch.
"""

import logging
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

log = logging.getLogger(__name__)

T = TypeVar("T")
PAYS = 1.25  # least factor by which the compiled form is faster, because compiling all sizes takes over a minute
_NODE = "_node_of_flat_graph"  # attribute of tensors that came from the inputs


def faster(plain: T, compile_: Callable[[], T], seconds: Callable[[T], float], what: str) -> T:
    """Return what `compile_` makes if it is `PAYS` times as fast as `plain`, else `plain`.

    `seconds` measures one of them, and `what` names the network in the log. Any failure is logged and `plain` returned:
    a compiler may fail in any way on a network that it does not know, and the plain form computes the same.
    """
    before = seconds(plain)
    try:
        compiled = compile_()
        after = seconds(compiled)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        log.warning("%s runs without torch.compile, which failed: %s: %s", what, type(error).__name__, reason)
        return plain
    kept = compiled if before >= PAYS * after else plain
    which = "which is used" if kept is compiled else "which is not used"
    log.info("%s takes %.3f ms, and %.3f ms with torch.compile, %s", what, before * 1e3, after * 1e3, which)
    return kept


def flat(module: nn.Module, inputs: Mapping[str, Tensor]) -> fx.GraphModule:
    """Return the operations of `module` on `inputs`, its arguments in order, as a graph for exactly these shapes."""
    recorder = _Recorder()
    given = [x.detach() for x in inputs.values()]  # new tensors, which get an attribute below
    for name, x in zip(inputs, given, strict=True):
        setattr(x, _NODE, recorder.graph.placeholder(name))
    with recorder:
        outputs = module(*given)
    recorder.graph.output({name: recorder.node(x) for name, x in outputs.items()})
    return fx.GraphModule(recorder.constants, recorder.graph)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record the operations on tensors that depend on the inputs; tensors that do not become constants."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.constants = nn.Module()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if any(hasattr(x, _NODE) for x in tree_leaves((args, kwargs))):
            node = self.graph.call_function(func, *tree_map_only(Tensor, self.node, (args, kwargs)))
            if isinstance(found, Tensor):
                setattr(found, _NODE, node)
            else:
                for index, part in enumerate(found):
                    setattr(part, _NODE, self.graph.call_function(operator.getitem, (node, index)))
        return found

    def node(self, x: Tensor) -> fx.Node:
        """Return the graph's node for the tensor `x`, adding a constant if it does not depend on the inputs."""
        known: fx.Node | None = getattr(x, _NODE, None)
        if known is not None:
            return known
        name = f"constant_{len(self.constants._buffers)}"
        self.constants.register_buffer(name, x)
        return self.graph.get_attr(name)
