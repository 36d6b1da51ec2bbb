"""torch on a GPU: the ONNX file run operation by operation, or as torch.compile fuses it where that was measured to be
faster; each batch size recorded as one CUDA graph.

No GPU has confirmed what is done on one alone (`_OnGpu`): see docs/gpu.md. The same engine on the CPU is what the tests
compare; it is slower than OpenVINO there, and `precisions` does not offer it. torch is imported only when this engine
is asked for, and uses the device's primary context, as `engines.cuda` does.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines import split, weights
from engines.batches import SIZES, in_sizes, rows_of
from engines.engine import Arrays, Engine
from engines.errors import EngineError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("bf16", "fp16", "fp32")
INSTALL = "pip install 'affectstream[train]', with torch for CUDA"
_WARM_UPS = 2  # runs before a graph is recorded, in which libraries choose their kernels
_MEASURED = 16  # rows at which torch.compile has to be faster
_REPLAYS = 10  # timed, of which the fastest counts


def precisions() -> tuple[str, ...]:
    """What this GPU computes, the fastest first. Raises `EngineError` without torch or without a GPU that it sees."""
    torch = _torch()
    if not torch.cuda.is_available():
        raise EngineError(f"torch {torch.__version__} sees no NVIDIA GPU here; choose openvino.")
    return PRECISIONS if torch.cuda.get_device_capability() >= (8, 0) else ("fp16", "fp32")


def version() -> str:
    """torch's. Raises `EngineError` if it is missing."""
    return str(_torch().__version__)


def device() -> str:
    """The GPU. Raises `EngineError` without torch; to be asked only where `precisions` answers."""
    cuda = _torch().cuda
    return f"{cuda.get_device_name()}, compute capability {'.'.join(map(str, cuda.get_device_capability()))}"


def opened(entry: weights.Weights, precision: str, threads: int, streams: int) -> Engine:
    """The engine of weights; threads and streams are the CPU's. Raises `EngineError` or `WeightsError`."""
    return split.opened(weights.verified(entry), lambda path: TorchEngine(path, precision=precision))


class TorchEngine:
    """An ONNX file in float32, computed in `precision`; callable from any number of threads, one at a time.

    `device`: "cuda", or "cpu" for tests. Raises `EngineError` if the file cannot be run or does not fit."""

    name = "torch"

    def __init__(self, model: Path, *, precision: str = "bf16", device: str = "cuda") -> None:
        if precision not in PRECISIONS:
            raise EngineError(f"There is no precision {precision!r} in torch; choose one of {', '.join(PRECISIONS)}.")
        torch = _torch()
        try:
            import onnx

            from engines.half import halved
            from engines.onnx_torch import OnnxModule
        except ImportError:
            raise EngineError(f"The torch engine needs the package onnx: {INSTALL}.") from None
        self.precision = precision
        self._label = model.name
        self._lock = threading.Lock()
        network = onnx.load(str(model))
        network.graph.name = model.stem
        self.inputs, self.types = {}, {}
        for value in network.graph.input:
            kind = value.type.tensor_type
            self.inputs[value.name] = tuple(dim.dim_value or -1 for dim in kind.shape.dim)
            self.types[value.name] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        if precision != "fp32":
            network = halved(network, precision)
        try:
            self._module = OnnxModule(network).eval().to(device)
            self._on_gpu = None
            if device == "cuda":
                self._on_gpu = _OnGpu(torch, self._module, self.inputs, self.types)
                if precision != "fp32":  # which is perception's: three networks more for the compiler at each start
                    self._on_gpu.compile_if_faster(f"{self._label} in {precision}")
        except torch.OutOfMemoryError as error:
            raise EngineError(f"The GPU has no memory left for {self._label}; close what else uses it.") from error
        except RuntimeError as error:
            raise EngineError(f"torch cannot run {self._label}: {str(error).splitlines()[0]}.") from error

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Outputs by name; see `engines.engine.Engine`. Raises `EngineError` for wrong names, shapes or types, and for
        what the GPU reports."""
        rows = rows_of(self._label, self.inputs, self.types, inputs)
        torch = _torch()
        try:
            with self._lock, torch.inference_mode():
                return in_sizes(rows, inputs, self._on_gpu or self._on_cpu)
        except torch.OutOfMemoryError as error:
            raise EngineError(f"The GPU has no memory left for {self._label}; close what else uses it.") from error
        except RuntimeError as error:
            raise EngineError(f"torch could not run {self._label}: {str(error).splitlines()[0]}.") from error

    def _on_cpu(self, inputs: Mapping[str, NDArray[np.generic]], batch: int) -> Arrays:
        torch = _torch()
        outputs = self._module(*(torch.tensor(inputs[name]) for name in self.inputs))
        return {name: value.numpy() for name, value in outputs.items()}


@dataclass(frozen=True, slots=True)
class _Recorded:
    """One batch size: inputs and outputs by name in page-locked memory and on the GPU, and what leads from the one to
    the other there. `compiled`: by torch.compile."""

    compiled: bool
    given: dict[str, "torch.Tensor"]
    inputs: dict[str, "torch.Tensor"]
    graph: Any  # torch.cuda.CUDAGraph
    outputs: dict[str, "torch.Tensor"]
    found: dict[str, "torch.Tensor"]


class _OnGpu:
    """The module on the GPU, one CUDA graph a batch size, recorded when it is first needed. All of them share one pool
    of memory and one stream."""

    def __init__(
        self, torch: Any, module: Any, shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, str]
    ) -> None:
        self._torch, self._module = torch, module
        self._shapes, self._types = shapes, {name: getattr(torch, kind) for name, kind in types.items()}
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()
        self._recorded: dict[int, _Recorded] = {}

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]], batch: int) -> Arrays:
        """Outputs for the rows of `inputs`, at most `batch`, run in that size."""
        rows = len(next(iter(inputs.values())))
        torch = self._torch
        with torch.cuda.stream(self._stream):
            if batch not in self._recorded:
                self._recorded[batch] = self._record(batch)
            size = self._recorded[batch]
            for name, values in inputs.items():
                size.given[name].numpy()[:rows] = values
                size.given[name][rows:].zero_()  # what lies there from an earlier batch could be anything
                size.inputs[name].copy_(size.given[name], non_blocking=True)
            size.graph.replay()
            for name, value in size.outputs.items():
                size.found[name].copy_(value, non_blocking=True)
            self._stream.synchronize()
        return {name: value[:rows].numpy().copy() for name, value in size.found.items()}

    def compile_if_faster(self, what: str) -> None:
        """Lets torch.compile try at one size; where it is faster there, records all sizes now, which takes minutes: a
        call in service that waited for a compiler would be taken for one that hangs. `what`: for the log."""
        from engines.torch_compile import faster

        torch = self._torch
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for batch in (_MEASURED, *(size for size in SIZES if size != _MEASURED)):
                kept = self._recorded[batch] = faster(
                    self._record(batch),
                    lambda batch=batch: self._record(batch, compiled=True),  # type: ignore[misc]
                    self._seconds,
                    f"{what}, {batch} at once,",
                )
                if batch == _MEASURED and not kept.compiled:
                    return

    def _seconds(self, size: _Recorded) -> float:
        """That a replay takes at best."""
        spent = []
        for _ in range(_REPLAYS):
            started = perf_counter()
            size.graph.replay()
            self._stream.synchronize()
            spent.append(perf_counter() - started)
        return min(spent)

    def _record(self, batch: int, *, compiled: bool = False) -> _Recorded:
        from engines.torch_compile import flat

        torch = self._torch
        given = {
            name: torch.zeros((batch, *shape[1:]), dtype=self._types[name], pin_memory=True)
            for name, shape in self._shapes.items()
        }
        inputs = {name: torch.zeros_like(value, device="cuda") for name, value in given.items()}
        module = torch.compile(flat(self._module, inputs)) if compiled else self._module
        # float32 means float32; kernels are chosen by measuring, for the sizes stay what they are.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            for _ in range(_WARM_UPS):
                module(*inputs.values())
            graph = torch.cuda.CUDAGraph()
            # Only this thread's work is recorded, whatever perception's engine does meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                outputs = module(*inputs.values())
        found = {name: torch.empty(value.shape, dtype=value.dtype, pin_memory=True) for name, value in outputs.items()}
        return _Recorded(compiled, given, inputs, graph, outputs, found)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise EngineError(f"The torch engine needs PyTorch: {INSTALL}.") from None
    return torch
