"""PyTorch on a GPU: an ONNX file, run operation by operation and recorded as one CUDA graph for each batch size.

Where torch.compile was measured to be faster, its form of the network is recorded instead. All sizes are recorded
before the engine is returned. `_OnGpu` is the part that needs a GPU (`tests/engines/gpu/test_on_gpu.py`, docs/gpu.md).
The other tests run the same engine on the CPU, where it is slower than OpenVINO and `precisions` does not offer it.
PyTorch is imported only when this engine is asked for, and uses the device's primary context, as `engines.gpu.cuda`
does.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines import split, weights
from engines.batches import SIZES, in_sizes, rows_of
from engines.cache import alone
from engines.engine import Arrays, Engine
from engines.errors import EngineError

if TYPE_CHECKING:
    import onnx
    import torch

PRECISIONS = ("bf16", "fp16", "fp32")
INSTALL = "pip install 'affectstream[train]', with torch for CUDA"
_WARM_UPS = 2  # runs before a graph is recorded, in which cuDNN chooses its kernels
_CANDIDATES = 4  # kernels that cuDNN measures for each convolution; the best is nearly always among the first ones
_MEASURED = 16  # rows at which torch.compile has to be faster
# A network that takes longer for so many rows spends its time in convolutions, which torch.compile does not change.
_SHORT = 1e-3  # s
_REPLAYS = 10  # replays that are timed; the fastest counts


def precisions() -> tuple[str, ...]:
    """Return the precisions of this GPU, the fastest first.

    Raise `EngineError` without PyTorch, or if PyTorch finds no GPU.
    """
    torch = _torch()
    if not torch.cuda.is_available():
        raise EngineError(f"torch {torch.__version__} sees no NVIDIA GPU here; choose openvino.")
    return PRECISIONS if torch.cuda.get_device_capability() >= (8, 0) else ("fp16", "fp32")


def version() -> str:
    """Return the version of PyTorch. Raise `EngineError` if it is missing."""
    return str(_torch().__version__)


def device() -> str:
    """Return the name of the GPU; only for a machine on which `precisions` found one.

    Raise `EngineError` without PyTorch.
    """
    cuda = _torch().cuda
    return f"{cuda.get_device_name()}, compute capability {'.'.join(map(str, cuda.get_device_capability()))}"


def opened(entry: weights.Weights, precision: str, threads: int, streams: int) -> Engine:
    """Return the engine of a file of weights. Raise `EngineError` or `WeightsError`.

    `threads` and `streams` are settings of CPU engines and are not used.
    """
    return split.opened(weights.verified(entry), lambda path: TorchEngine(path, precision=precision))


class TorchEngine:
    """Run a float32 ONNX file in `precision`; any number of threads may call it, and their calls run one at a time.

    `device` is "cuda", or "cpu" in tests. Raise `EngineError` if the file cannot be run or does not fit into memory.
    """

    name = "torch"

    def __init__(self, model: Path, *, precision: str = "bf16", device: str = "cuda") -> None:
        if precision not in PRECISIONS:
            raise EngineError(f"There is no precision {precision!r} in torch; choose one of {', '.join(PRECISIONS)}.")
        torch = _torch()
        network = _read(model)
        self.precision = precision
        self._label = model.name
        self._lock = threading.Lock()
        self.inputs, self.types = {}, {}
        from onnx.helper import tensor_dtype_to_np_dtype

        for value in network.graph.input:
            kind = value.type.tensor_type
            self.inputs[value.name] = tuple(dim.dim_value or -1 for dim in kind.shape.dim)
            self.types[value.name] = np.dtype(tensor_dtype_to_np_dtype(kind.elem_type)).name
        try:
            self._module = module(network, precision).to(device)
            self._on_gpu = None
            if device == "cuda":
                self._on_gpu = _OnGpu(torch, self._module, self.inputs, self.types)
                self._on_gpu.record()
                if (
                    precision != "fp32"
                ):  # perception's three networks are fp32, and compiling them would slow each start
                    self._on_gpu.compile_if_faster(f"{self._label} in {precision}")
        except torch.OutOfMemoryError as error:
            raise EngineError(f"The GPU has no memory left for {self._label}; close what else uses it.") from error
        except RuntimeError as error:
            raise EngineError(f"torch cannot run {self._label}: {str(error).splitlines()[0]}.") from error

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return the outputs by name; see `engines.engine.Engine`.

        Raise `EngineError` for wrong names, shapes or types, and for errors of the GPU.
        """
        rows = rows_of(self._label, self.inputs, self.types, inputs)
        torch = _torch()
        try:
            with self._lock, torch.inference_mode():
                if self._on_gpu is None:
                    return in_sizes(rows, inputs, self._on_cpu)
                return in_sizes(rows, inputs, self._on_gpu, self._on_gpu.sizes)
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
    """Hold the recorded work of one batch size, and its outputs on the GPU and in page-locked memory by name.

    `compiled` says whether it was recorded of torch.compile's form of the network.
    """

    compiled: bool
    graph: Any  # torch.cuda.CUDAGraph
    outputs: dict[str, "torch.Tensor"]
    found: dict[str, "torch.Tensor"]


class _OnGpu:
    """Run a module on the GPU with one CUDA graph for each batch size; `record` must be called first.

    All graphs share their inputs, one pool of memory and one stream.
    """

    def __init__(
        self, torch: Any, module: Any, shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, str]
    ) -> None:
        self._torch, self._module = torch, module
        self._given = {
            name: torch.zeros((SIZES[-1], *shape[1:]), dtype=getattr(torch, types[name]), pin_memory=True)
            for name, shape in shapes.items()
        }
        self._inputs = {name: torch.zeros_like(value, device="cuda") for name, value in self._given.items()}
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()
        self._recorded: dict[int, _Recorded] = {}

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]], batch: int) -> Arrays:
        """Return the outputs for the rows of `inputs`, at most `batch`, which is the size that is run."""
        rows = len(next(iter(inputs.values())))
        torch = self._torch
        size = self._recorded[batch]
        with torch.cuda.stream(self._stream):
            for name, values in inputs.items():
                self._given[name].numpy()[:rows] = values
                self._inputs[name][:rows].copy_(self._given[name][:rows], non_blocking=True)
            size.graph.replay()
            for name, value in size.outputs.items():
                size.found[name].copy_(value, non_blocking=True)
            self._stream.synchronize()
        return {name: value[:rows].numpy().copy() for name, value in size.found.items()}

    @property
    def sizes(self) -> Sequence[int]:
        """Return the batch sizes that there is memory for, in ascending order."""
        return sorted(self._recorded)

    def record(self) -> None:
        """Record all sizes before the engine serves: a call that waited for this would be treated as one that hangs.

        The largest comes first, because the others can use its memory. Sizes that the GPU has no memory for are left
        out. Processes that share the GPU record one after another, because kernels are chosen by measuring.
        """
        torch = self._torch
        with alone("gpu"), torch.inference_mode(), torch.cuda.stream(self._stream):
            for batch in reversed(SIZES):
                try:
                    self._recorded[batch] = self._record(batch)
                except torch.OutOfMemoryError:
                    if batch == SIZES[0]:
                        raise
                    torch.cuda.empty_cache()

    def compile_if_faster(self, what: str) -> None:
        """Compile a short network for one size and, where that is faster, for all sizes, which takes minutes.

        `what` names the network in the log.
        """
        from engines.gpu.torch_compile import faster

        torch = self._torch
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            if _MEASURED not in self._recorded or self._seconds(self._recorded[_MEASURED]) > _SHORT:
                return
            for batch in (_MEASURED, *(size for size in self.sizes if size != _MEASURED)):
                kept = self._recorded[batch] = faster(
                    self._recorded[batch],
                    lambda batch=batch: self._record(batch, compiled=True),  # type: ignore[misc]
                    self._seconds,
                    f"{what}, {batch} at once,",
                )
                if batch == _MEASURED and not kept.compiled:
                    return

    def _seconds(self, size: _Recorded) -> float:
        """Return the seconds of the fastest of several replays."""
        spent = []
        for _ in range(_REPLAYS):
            started = perf_counter()
            size.graph.replay()
            self._stream.synchronize()
            spent.append(perf_counter() - started)
        return min(spent)

    def _record(self, batch: int, *, compiled: bool = False) -> _Recorded:
        """Return the recorded graph of a batch size, of torch.compile's form of the network with `compiled`."""
        from engines.gpu.torch_compile import flat

        torch = self._torch
        inputs = {name: value[:batch] for name, value in self._inputs.items()}
        module = torch.compile(flat(self._module, inputs)) if compiled else self._module
        # No TF32, because fp32 has to have all digits. Kernels are chosen by measuring, because the sizes are fixed.
        choice = {"enabled": True, "benchmark": True, "benchmark_limit": _CANDIDATES, "allow_tf32": False}
        with torch.backends.cudnn.flags(**choice):
            for _ in range(_WARM_UPS):
                module(*inputs.values())
            graph = torch.cuda.CUDAGraph()
            # Only this thread's work is recorded; perception's engine may run in another thread at the same time.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                outputs = module(*inputs.values())
        found = {name: torch.empty(value.shape, dtype=value.dtype, pin_memory=True) for name, value in outputs.items()}
        return _Recorded(compiled, graph, outputs, found)


def module(network: "onnx.ModelProto | Path", precision: str) -> Any:
    """Return the PyTorch module of a network in a precision, in evaluation mode and on the CPU.

    Its arguments are the network's inputs in their order, and it gives the outputs by name. Raise `EngineError` for a
    network that cannot be run.
    """
    network = _read(network) if isinstance(network, Path) else network
    from engines.gpu.convolutions import fused, widened
    from engines.gpu.half import halved
    from engines.gpu.onnx_torch import OnnxModule

    return OnnxModule(network if precision == "fp32" else fused(halved(widened(network), precision))).eval()


def _read(model: Path) -> "onnx.ModelProto":
    """Return the network in an ONNX file. Raise `EngineError` without the package onnx."""
    try:
        import onnx
    except ImportError:
        raise EngineError(f"The torch engine needs the package onnx: {INSTALL}.") from None
    network = onnx.load(str(model))
    network.graph.name = model.stem
    return network


def _torch() -> Any:
    """Return the module `torch`. Raise `EngineError` if it is missing."""
    try:
        import torch
    except ImportError:
        raise EngineError(f"The torch engine needs PyTorch: {INSTALL}.") from None
    return torch
