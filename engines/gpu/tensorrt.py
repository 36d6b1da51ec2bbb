"""TensorRT on an NVIDIA GPU. No GPU has confirmed this file: see docs/gpu.md.

Inputs and outputs lie in page-locked memory and on the GPU at addresses that never change. Each batch size of `SIZES`
has an execution context of its own, and after one run the copies in, the network and the copies out are recorded as one
CUDA graph, so that a batch costs one launch. All contexts share their scratch memory, one stream and one lock.
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

_SPARE = 64 << 20  # bytes beside what is counted: CUDA graphs and what contexts keep


def precisions() -> tuple[str, ...]:
    """What this GPU computes, the fastest first. Raises `EngineError` without GPU, driver, pycuda or TensorRT."""
    tensorrt()
    return PRECISIONS if gpu().capability >= (8, 0) else tuple(p for p in PRECISIONS if p != "bf16")


def version() -> str:
    """TensorRT's. Raises `EngineError` if it cannot be loaded."""
    return str(tensorrt().__version__)


def device() -> str:
    """The GPU and its driver's CUDA. Raises `EngineError` if there is none."""
    return str(gpu())


def opened(entry: weights.Weights, precision: str, threads: int, streams: int) -> Engine:
    """The engine of weights; threads and streams are the CPU's. Raises `EngineError` or `WeightsError`."""
    return split.opened(weights.verified(entry), lambda path: TensorRtEngine(path, precision=precision))


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output: its place in page-locked memory and on the GPU, for the largest batch."""

    name: str
    shape: tuple[int, ...]  # -1 for the batch
    host: NDArray[Any]
    place: Any  # pycuda.driver.DeviceAllocation


@dataclass(slots=True)
class _Size:
    """What runs one batch size: its context, and its graph after the first run, if it can be recorded."""

    context: Any
    graph: Graph | None = None
    recorded: bool = False


class TensorRtEngine:
    """An ONNX file as a TensorRT plan, callable from any number of threads, one at a time.

    `precision`: what the float32 file is computed in, or "int8" for a quantised file, which is taken as it is. Raises
    `EngineError` if it cannot be built or does not fit into the GPU's memory.
    """

    name = "tensorrt"
    _engine: Any = None  # until it is built, and once it is closed

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
        """Outputs by name; see `engines.engine.Engine`. Raises `EngineError` for wrong names, shapes or types, and for
        what the GPU reports.
        """
        rows = rows_of(self._label, self.inputs, self.types, inputs)
        with self._lock, self._gpu.current():
            if self._engine is None:
                raise EngineError(f"{self._label} was closed.")
            return in_sizes(rows, inputs, self._batch)

    def close(self) -> None:
        """Frees what it holds on the GPU; it can run no more. Calling it again does nothing."""
        with self._lock, self._gpu.current():
            self._free()  # a call of its own, so that no variable outlives the context

    def _free(self) -> None:
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
            self.close()  # pycuda frees nothing from a thread that has not the context

    def _allocate(self) -> None:
        """Memory for the largest batch, once it is known to be free."""
        trt, driver, engine = tensorrt(), self._gpu.driver, self._engine
        largest = SIZES[-1]
        names = [str(engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)]
        given = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._given = {name: tuple(int(d) for d in engine.get_tensor_shape(name)) for name in given}
        context = self._shaped(largest)  # knows the sizes of the outputs too, where the network alone does not
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
        """Runs the rows of `inputs`, at most `batch`, in that size."""
        rows = len(next(iter(inputs.values())))
        if batch not in self._sizes:
            self._sizes[batch] = _Size(self._context(batch))
        size = self._sizes[batch]
        for tensor in self._inputs:
            tensor.host[:rows] = inputs[tensor.name]
            tensor.host[rows:batch] = 0  # what lies there from an earlier batch could be anything
        work = partial(self._work, size.context, batch)
        if size.graph is not None:
            size.graph.launch()
        else:
            work()
        self._stream.synchronize()
        outputs = {tensor.name: tensor.host[:rows].copy() for tensor in self._outputs}
        if not size.recorded:  # only now, for a context does work at its first run that no graph may hold
            size.recorded = True
            size.graph = self._record(work)
        return outputs

    def _context(self, batch: int) -> Any:
        """An execution context for this batch size alone: what was recorded holds as long as nothing in it changes."""
        context = self._shaped(batch)
        if self._scratch is not None:
            context.set_device_memory(int(self._scratch), self._scratch_bytes)
        for tensor in (*self._inputs, *self._outputs):
            if not context.set_tensor_address(tensor.name, int(tensor.place)):
                raise EngineError(f"TensorRT refuses the memory of {tensor.name!r} for {self._label}.")
        return context

    def _shaped(self, batch: int) -> Any:
        """An execution context that knows the shapes of a batch, and no memory yet."""
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
        """Puts copies in, network and copies out on the stream."""
        driver = self._gpu.driver
        for tensor in self._inputs:
            driver.memcpy_htod_async(tensor.place, tensor.host[:batch], self._stream)
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"TensorRT could not run {self._label}.")
        for tensor in self._outputs:
            driver.memcpy_dtoh_async(tensor.host[:batch], tensor.place, self._stream)

    def _record(self, work: Callable[[], None]) -> Graph | None:
        """None where the network has a layer that cannot be recorded; it is then launched layer by layer."""
        try:
            return Graph(self._stream, work)
        except (EngineError, self._gpu.driver.Error) as error:
            log.warning("%s runs without a CUDA graph: %s", self._label, error)
            return None
