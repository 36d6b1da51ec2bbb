"""torch.compile where it pays: what it is given, and whether what it makes is kept.

The interpreter of ONNX files (`engines.gpu.onnx_torch`) computes shapes as it goes, and torch.compile breaks off at
each of them: of a network it makes as many graphs as there are operations, which fuses nothing. So what the
interpreter does to tensors of one shape is written down first, as one flat graph. Imported by
`engines.gpu.torch_cuda` alone; needs torch.
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
PAYS = 1.25  # times as fast as the plain form a compiled one has to be: compiling all sizes takes a minute or more
_NODE = "_node_of_flat_graph"  # attribute of tensors that came from the inputs


def faster(plain: T, compile_: Callable[[], T], seconds: Callable[[T], float], what: str) -> T:
    """`plain`, or what `compile_` makes if that is `PAYS` times as fast. Whatever fails about it is logged, and `plain`
    taken: a compiler of foreign networks may fail in any way, and nothing is lost without it.
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
    which = "which is kept" if kept is compiled else "which does not pay"
    log.info("%s takes %.3f ms, and %.3f by torch.compile, %s", what, before * 1e3, after * 1e3, which)
    return kept


def flat(module: nn.Module, inputs: Mapping[str, Tensor]) -> fx.GraphModule:
    """What `module` does to `inputs`, which are its arguments in turn, for tensors of these very shapes."""
    recorder = _Recorder()
    given = [x.detach() for x in inputs.values()]  # tensors of their own, to be written upon
    for name, x in zip(inputs, given, strict=True):
        setattr(x, _NODE, recorder.graph.placeholder(name))
    with recorder:
        outputs = module(*given)
    recorder.graph.output({name: recorder.node(x) for name, x in outputs.items()})
    return fx.GraphModule(recorder.constants, recorder.graph)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down what is done to tensors that came from the inputs. What is done to others, weights and shapes, gives
    constants.
    """

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
        """That gives `x`."""
        known: fx.Node | None = getattr(x, _NODE, None)
        if known is not None:
            return known
        name = f"constant_{len(self.constants._buffers)}"
        self.constants.register_buffer(name, x)
        return self.graph.get_attr(name)
