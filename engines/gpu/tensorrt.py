"""TensorRT on an NVIDIA GPU. This file has not been run on a GPU yet: see docs/gpu.md.

Inputs and outputs lie in page-locked memory and on the GPU at addresses that never change. Each batch size of `SIZES`
has its own execution context. After its first run, the copies to the GPU, the network and the copies back are recorded
as one CUDA graph, so that a batch costs one launch. All contexts share scratch memory, one stream and one lock.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines import split, weights
from engines.batches import SIZES, in_sizes, rows_of
from engines.engine import Arrays, Engine
from engines.errors import EngineError
from engines.gpu.cuda import Graph, gpu
from engines.gpu.tensorrt_build import PRECISIONS, PROFILES, plan, tensorrt

log = logging.getLogger(__name__)

_SPARE = 64 << 20  # bytes for what is not counted: CUDA graphs and the memory that contexts hold


def precisions() -> tuple[str, ...]:
    """Return the precisions of this GPU, the fastest first.

    Raise `EngineError` without a GPU, its driver, pycuda or TensorRT.
    """
    tensorrt()
    return PRECISIONS if gpu().capability >= (8, 0) else tuple(p for p in PRECISIONS if p != "bf16")


def version() -> str:
    """Return the version of TensorRT. Raise `EngineError` if it cannot be loaded."""
    return str(tensorrt().__version__)


def device() -> str:
    """Return the GPU and the CUDA of its driver as text. Raise `EngineError` if there is none."""
    return str(gpu())


def opened(entry: weights.Weights, precision: str, threads: int, streams: int) -> Engine:
    """Return the engine of a file of weights. Raise `EngineError` or `WeightsError`.

    `threads` and `streams` are settings of CPU engines and are not used.
    """
    return split.opened(weights.verified(entry), lambda path: TensorRtEngine(path, precision=precision))


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Hold an input or output: its memory, page-locked and on the GPU, for the largest batch."""

    name: str
    shape: tuple[int, ...]  # -1 for the batch
    host: NDArray[Any]
    place: Any  # pycuda.driver.DeviceAllocation


@dataclass(slots=True)
class _Size:
    """Hold what runs one batch size: its context and, after the first run, its graph if it can be recorded."""

    context: Any
    graph: Graph | None = None
    recorded: bool = False


class TensorRtEngine:
    """Run an ONNX file as a TensorRT plan; any number of threads may call it, and their calls run one at a time.

    `precision` is the one that a float32 file is computed in, or "int8" for a quantised file, which is used as it is.
    Raise `EngineError` if the plan cannot be built or does not fit into the GPU's memory.
    """

    name = "tensorrt"
    _engine: Any = None  # before it is built and after it is closed

    def __init__(self, model: Path, *, precision: str = "fp16") -> None:
        if precision not in PRECISIONS:
            raise EngineError(
                f"There is no precision {precision!r} in TensorRT; choose one of {', '.join(PRECISIONS)}."
            )
        self.precision = precision
        self._label = model.name
        self._lock = threading.Lock()
        self._gpu = gpu()
        self._sizes: dict[int, _Size] = {}
        self._inputs: list[_Tensor] = []
        self._outputs: list[_Tensor] = []
        self._scratch: Any = None  # pycuda.driver.DeviceAllocation, where the network needs any
        with self._gpu.current():
            self._engine = plan(self._gpu, model, precision)
            self._stream = self._gpu.driver.Stream()
            self._allocate()
        self.inputs = {tensor.name: tensor.shape for tensor in self._inputs}
        self.types = {tensor.name: tensor.host.dtype.name for tensor in self._inputs}

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return the outputs by name; see `engines.engine.Engine`.

        Raise `EngineError` for wrong names, shapes or types, and for errors of the GPU.
        """
        rows = rows_of(self._label, self.inputs, self.types, inputs)
        with self._lock, self._gpu.current():
            if self._engine is None:
                raise EngineError(f"{self._label} was closed.")
            return in_sizes(rows, inputs, self._batch)

    def close(self) -> None:
        """Free the engine's memory on the GPU, after which it cannot be called. Closing it again does nothing."""
        with self._lock, self._gpu.current():
            self._free()  # a function of its own, so that its local variables end before the context does

    def _free(self) -> None:
        """Free graphs, contexts and memory, in this order, inside the context."""
        for size in self._sizes.values():
            if size.graph is not None:
                size.graph.close()
        self._sizes.clear()  # the contexts before the memory that they use
        for tensor in (*self._inputs, *self._outputs):
            tensor.place.free()
        self._inputs, self._outputs = [], []
        if self._scratch is not None:
            self._scratch.free()
        self._scratch = self._engine = self._stream = None

    def __del__(self) -> None:
        if self._engine is not None:
            self.close()  # pycuda frees nothing from a thread in which the context is not current

    def _allocate(self) -> None:
        """Allocate memory for the largest batch. Raise `EngineError` if it is not free."""
        trt, driver, engine = tensorrt(), self._gpu.driver, self._engine
        largest = SIZES[-1]
        names = [str(engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)]
        given = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._given = {name: tuple(int(d) for d in engine.get_tensor_shape(name)) for name in given}
        context = self._shaped(largest)  # a context knows the shapes of the outputs, which the network may not
        shapes = {name: tuple(int(d) for d in context.get_tensor_shape(name)) for name in names}
        types = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}
        self._scratch_bytes = int(engine.device_memory_size_v2)
        needed = sum(prod(shapes[name]) * types[name].itemsize for name in names) + self._scratch_bytes + _SPARE
        self._gpu.require_memory(needed, f"{self._label} in {self.precision}")
        self._scratch = driver.mem_alloc(self._scratch_bytes) if self._scratch_bytes else None
        for name in names:
            host = driver.pagelocked_empty(shapes[name], types[name])
            tensor = _Tensor(name, (-1, *shapes[name][1:]), host, driver.mem_alloc(host.nbytes))
            (self._inputs if name in self._given else self._outputs).append(tensor)

    def _batch(self, inputs: Mapping[str, NDArray[np.generic]], batch: int) -> Arrays:
        """Run the rows of `inputs`, at most `batch`, in that size, and return the outputs by name."""
        rows = len(next(iter(inputs.values())))
        if batch not in self._sizes:
            self._sizes[batch] = _Size(self._context(batch))
        size = self._sizes[batch]
        for tensor in self._inputs:
            tensor.host[:rows] = inputs[tensor.name]
            tensor.host[rows:batch] = 0  # rows of an earlier batch may still be there
        work = partial(self._work, size.context, batch)
        if size.graph is not None:
            size.graph.launch()
        else:
            work()
        self._stream.synchronize()
        outputs = {tensor.name: tensor.host[:rows].copy() for tensor in self._outputs}
        if not size.recorded:  # after the first run, in which a context does work that cannot be recorded
            size.recorded = True
            size.graph = self._record(work)
        return outputs

    def _context(self, batch: int) -> Any:
        """Return a new execution context for this batch size, because a recorded graph needs one that never changes."""
        context = self._shaped(batch)
        if self._scratch is not None:
            context.set_device_memory(int(self._scratch), self._scratch_bytes)
        for tensor in (*self._inputs, *self._outputs):
            if not context.set_tensor_address(tensor.name, int(tensor.place)):
                raise EngineError(f"TensorRT refuses the memory of {tensor.name!r} for {self._label}.")
        return context

    def _shaped(self, batch: int) -> Any:
        """Return an execution context that knows the shapes of a batch and has no memory yet."""
        trt, engine = tensorrt(), self._engine
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise EngineError(f"TensorRT has no room to run {self._label} on the {self._gpu.name}.")
        profile = next(index for index, (_, _, most) in enumerate(PROFILES) if batch <= most)
        accepted = context.set_optimization_profile_async(profile, self._stream.handle)
        self._stream.synchronize()
        for name, shape in self._given.items():
            accepted = accepted and context.set_input_shape(name, (batch, *shape[1:]))
        if not accepted or context.infer_shapes():
            raise EngineError(f"TensorRT refuses a batch of {batch} for {self._label}.")
        return context

    def _work(self, context: Any, batch: int) -> None:
        """Put the copies to the GPU, the network and the copies back on the stream."""
        driver = self._gpu.driver
        for tensor in self._inputs:
            driver.memcpy_htod_async(tensor.place, tensor.host[:batch], self._stream)
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"TensorRT could not run {self._label}.")
        for tensor in self._outputs:
            driver.memcpy_dtoh_async(tensor.host[:batch], tensor.place, self._stream)

    def _record(self, work: Callable[[], None]) -> Graph | None:
        """Return the graph of the work, or None if the network has a layer that cannot be recorded.

        Without a graph, the network is launched layer by layer.
        """
        try:
            return Graph(self._stream, work)
        except (EngineError, self._gpu.driver.Error) as error:
            log.warning("%s runs without a CUDA graph: %s", self._label, error)
            return None
