"""torch on a GPU: the ONNX file run operation by operation, each batch size recorded as one CUDA graph.

No GPU has confirmed what is done on one alone (`_OnGpu`): see docs/gpu.md. The same engine on the CPU is what the tests
compare; it is slower than OpenVINO there, and `precisions` does not offer it. torch is imported only when this engine
is asked for, and uses the device's primary context, as `engines.cuda` does.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines import split, weights
from engines.batches import in_sizes, rows_of
from engines.engine import Arrays, Engine
from engines.errors import EngineError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("bf16", "fp16", "fp32")
INSTALL = "pip install 'affectstream[train]', with torch for CUDA"
_WARM_UPS = 2  # runs before a graph is recorded, in which libraries choose their kernels


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
            module = OnnxModule(network).eval().to(device)
        except torch.OutOfMemoryError as error:
            raise EngineError(f"The GPU has no memory left for {self._label}; close what else uses it.") from error
        self._on_gpu = _OnGpu(torch, module, self.inputs, self.types) if device == "cuda" else None
        self._module = module

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
    the other there."""

    given: dict[str, "torch.Tensor"]
    inputs: dict[str, "torch.Tensor"]
    graph: Any  # torch.cuda.CUDAGraph
    outputs: dict[str, "torch.Tensor"]
    found: dict[str, "torch.Tensor"]


class _OnGpu:
    """The module on the GPU, one CUDA graph a batch size. All of them share one pool of memory and one stream."""

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

    def _record(self, batch: int) -> _Recorded:
        torch = self._torch
        given = {
            name: torch.zeros((batch, *shape[1:]), dtype=self._types[name], pin_memory=True)
            for name, shape in self._shapes.items()
        }
        inputs = {name: value.cuda() for name, value in given.items()}
        # float32 means float32; kernels are chosen by measuring, for the sizes stay what they are.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            for _ in range(_WARM_UPS):
                self._module(*inputs.values())
            graph = torch.cuda.CUDAGraph()
            # Only this thread's work is recorded, whatever perception's engine does meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                outputs = self._module(*inputs.values())
        found = {name: torch.empty(value.shape, dtype=value.dtype, pin_memory=True) for name, value in outputs.items()}
        return _Recorded(given, inputs, graph, outputs, found)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise EngineError(f"The torch engine needs PyTorch: {INSTALL}.") from None
    return torch
