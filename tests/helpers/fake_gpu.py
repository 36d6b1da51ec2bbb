"""Stand-ins for a GPU that is not there: pycuda.driver, tensorrt and libcuda, as far as the engine calls them.

Names and signatures are those of the docstrings in the wheels tensorrt-cu13-bindings 10.13.3.9 and 11.4.0.106, of
pycuda 2026.1's sources and of CUDA's driver API. "Device memory" is host memory at made-up addresses and the network
runs in OpenVINO, so that results are real; what CUDA would punish (a call without the context, a free from another
thread, an address that was never set) fails here too.
"""

# ruff: noqa: N801, N802 - the names are CUDA's

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
import types
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from engines import openvino
from engines.gpu import cuda, tensorrt_build


class Error(Exception):
    """pycuda.driver.Error."""


class MemoryError_(Error):
    """pycuda.driver.MemoryError."""


class LogicError(Error):
    """pycuda.driver.LogicError."""


class FakeGpu:
    """The state behind the three modules, and what a test may choose or look at."""

    def __init__(self, version: str = "10.13.3.9") -> None:
        self.version = version
        self.capability = (9, 0)
        self.free = 8 << 30  # bytes
        self.driver_cuda = 13000
        self.devices = 1
        self.driver_too_old = False
        self.cannot_record = False
        self.spoil = 0.0  # added to every output
        self.corrupt: set[bytes] = set()  # plans that are not read
        self.builds = 0
        self.runs = 0  # of the network, recorded ones included when they are launched
        self.launches = 0  # of graphs
        self.network_flags: list[int] = []
        self.cleared: list[str] = []
        self.profiles: dict[bytes, list[dict[str, tuple[tuple[int, ...], ...]]]] = {}  # by the network's file
        self.timing_caches: list[bytes] = []
        self.memory: dict[int, np.ndarray] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.stack = threading.local()
        self._addresses = itertools.count(0x7F00_0000_0000, 1 << 34)

    def require_context(self) -> None:
        if not getattr(self.stack, "depth", 0):
            raise LogicError("context::pop failed: invalid device context")

    def do(self, work: Callable[[], None]) -> None:
        """Work on a stream: done, or recorded while the stream is captured."""
        self.require_context()
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def allocate(self, size: int) -> int:
        self.require_context()
        if size > self.free:
            raise MemoryError_("cuMemAlloc failed: out of memory")
        address = next(self._addresses)
        self.memory[address] = np.zeros(size, np.uint8)
        self.free -= size
        return address


def pycuda_driver(gpu: FakeGpu) -> types.ModuleType:
    module = types.ModuleType("pycuda.driver")

    class Context:
        def push(self) -> None:
            gpu.stack.depth = getattr(gpu.stack, "depth", 0) + 1

        @staticmethod
        def pop() -> None:
            gpu.require_context()
            gpu.stack.depth -= 1

    class Device:
        def __init__(self, number: int) -> None:
            if number >= gpu.devices:
                raise LogicError("cuDeviceGet failed: invalid device ordinal")

        def name(self) -> str:
            return "NVIDIA Imagined 9000"

        def compute_capability(self) -> tuple[int, int]:
            return gpu.capability

        def retain_primary_context(self) -> Context:
            return Context()

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            gpu.require_context()
            self.handle = 0x5EED

        def synchronize(self) -> None:
            gpu.require_context()
            assert gpu.recording is None, "a stream must not be waited for while it is captured"

    class DeviceAllocation:
        def __init__(self, size: int) -> None:
            self._address = gpu.allocate(size)

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            gpu.require_context()
            gpu.free += len(gpu.memory.pop(self._address))

    def memcpy_htod_async(dest: DeviceAllocation, src: np.ndarray, stream: Stream | None = None) -> None:
        assert src.flags.c_contiguous
        gpu.do(lambda: gpu.memory[int(dest)].__setitem__(slice(src.nbytes), src.reshape(-1).view(np.uint8)))

    def memcpy_dtoh_async(dest: np.ndarray, src: DeviceAllocation, stream: Stream | None = None) -> None:
        assert dest.flags.c_contiguous
        gpu.do(lambda: dest.reshape(-1).view(np.uint8).__setitem__(slice(None), gpu.memory[int(src)][: dest.nbytes]))

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        gpu.require_context()
        return np.full(shape, 123, dtype)

    def init(flags: int = 0) -> None:
        if not gpu.devices:
            raise LogicError("cuInit failed: no CUDA-capable device is detected")

    for name, value in {
        "Error": Error, "MemoryError": MemoryError_, "LogicError": LogicError, "init": init, "Device": Device,
        "Stream": Stream, "get_driver_version": lambda: gpu.driver_cuda, "mem_alloc": DeviceAllocation,
        "mem_get_info": lambda: (gpu.require_context(), (gpu.free, 16 << 30))[1],
        "memcpy_htod_async": memcpy_htod_async, "memcpy_dtoh_async": memcpy_dtoh_async,
        "pagelocked_empty": pagelocked_empty,
    }.items():  # fmt: skip
        setattr(module, name, value)
    return module


def tensorrt(gpu: FakeGpu) -> types.ModuleType:
    trt = types.ModuleType("tensorrt")
    major = int(gpu.version.split(".")[0])

    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    class ILogger:
        Severity: Any = None

        def __init__(self) -> None:
            self.made = True

    ILogger.Severity = Severity

    class IProgressMonitor:
        def __init__(self) -> None:
            self.made = True

    class TensorIOMode(IntEnum):
        NONE = 0
        INPUT = 1
        OUTPUT = 2

    class Tensor:
        def __init__(self, port: Any, name: str) -> None:
            self.name, self.shape = name, openvino._shape(port)

    class Network:
        model: ov.Model
        source: bytes

        @property
        def num_inputs(self) -> int:
            return len(self.model.inputs)

        def get_input(self, index: int) -> Tensor:
            port = self.model.inputs[index]
            return Tensor(port, openvino._input_name(port))

    class ParserError:
        def __init__(self, text: str) -> None:
            self._text = text

        def desc(self) -> str:
            return self._text

    class OnnxParser:
        def __init__(self, network: Network, logger: ILogger) -> None:
            self._network, self._errors = network, list[ParserError]()

        def parse(self, model: bytes, path: str | None = None) -> bool:
            try:
                self._network.model = openvino.core().read_model(model)
            except RuntimeError:
                self._errors.append(ParserError("In node 0 with name:  and operator: Frobnicate: unsupported."))
                return False
            self._network.source = model
            return True

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

    class TimingCache:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def serialize(self) -> bytes:
            return b"timings of this GPU"

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            self.shapes[input] = (tuple(min), tuple(opt), tuple(max))

    class BuilderConfig:
        progress_monitor: Any = None

        def __init__(self) -> None:
            self.profiles: list[dict[str, tuple[tuple[int, ...], ...]]] = []

        def clear_flag(self, flag: str) -> None:
            gpu.cleared.append(flag)

        def set_memory_pool_limit(self, pool: str, pool_size: int) -> None:
            assert 0 < pool_size <= gpu.free

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profiles.append(profile.shapes)
            return len(self.profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
            return TimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            gpu.timing_caches.append(cache.content)
            return cache.content in (b"", b"timings of this GPU")

        def get_timing_cache(self) -> TimingCache:
            return TimingCache(gpu.timing_caches[-1])

    def started(logger: ILogger) -> None:
        assert logger.made, "trt.ILogger.__init__ was not called"
        if gpu.driver_too_old:
            logger.log(Severity.ERROR, "CUDA initialization failure with error: 35.")  # type: ignore[attr-defined]
            raise TypeError("pybind11::init(): factory function returned nullptr")

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            started(logger)
            self._logger = logger

        def create_network(self, flags: int = 0) -> Network:
            gpu.network_flags.append(flags)
            return Network()

        def create_builder_config(self) -> BuilderConfig:
            return BuilderConfig()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: BuilderConfig) -> bytes | None:
            gpu.require_context()
            monitor = config.progress_monitor
            monitor.phase_start("Building Engine", None, 2)
            for step in range(2):
                if not monitor.step_complete("Building Engine", step):
                    return None
            monitor.phase_finish("Building Engine")
            gpu.builds += 1
            gpu.profiles[network.source] = config.profiles
            return b"PLAN" + network.source

    class ExecutionContext:
        def __init__(self, engine: CudaEngine) -> None:
            self._engine = engine
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            self._profile: int | None = None

        def set_device_memory(self, memory: int, size: int) -> None:
            assert size >= self._engine.device_memory_size_v2
            assert memory in gpu.memory

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            assert gpu.recording is None
            self._profile = profile_index
            return True

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            assert self._profile is not None
            least, _, most = self._engine.profiles[self._profile][name]
            self._shapes[name] = tuple(shape)
            return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            assert not self.infer_shapes()
            batch = next(iter(self._shapes.values()))[0]
            shape = {**self._engine.network.inputs, **self._engine.network.outputs}[name]
            return (batch, *shape[1:])

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return memory in gpu.memory

        def infer_shapes(self) -> list[str]:
            return [name for name in self._engine.names_of_inputs if name not in self._shapes]

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert stream_handle == 0x5EED
            gpu.do(self._run)
            return True

        def _run(self) -> None:
            gpu.runs += 1
            inputs = {}
            for name, shape in self._shapes.items():
                dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
                raw = gpu.memory[self._addresses[name]][: int(np.prod(shape)) * dtype.itemsize]
                inputs[name] = raw.view(dtype).reshape(shape)
            for name, values in self._engine.network(inputs).items():
                spoiled = (values + gpu.spoil).astype(values.dtype)
                data = np.ascontiguousarray(spoiled).reshape(-1).view(np.uint8)
                gpu.memory[self._addresses[name]][: len(data)] = data

    class CudaEngine:
        device_memory_size_v2 = 4096

        def __init__(self, source: bytes) -> None:
            model = openvino.core().read_model(source)
            self.profiles = gpu.profiles[source]
            self.network = openvino.OpenVinoEngine(model, caching=False)
            self.names_of_inputs = list(self.network.inputs)

        @property
        def num_io_tensors(self) -> int:
            return len(self.network.inputs) + len(self.network.outputs)

        def get_tensor_name(self, index: int) -> str:
            return [*self.network.inputs, *self.network.outputs][index]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self.network.inputs.get(name, (-1, -1))  # of outputs a network alone may not know

        def get_tensor_dtype(self, name: str) -> str:
            return self.network.types.get(name, "float32")

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.INPUT if name in self.network.inputs else TensorIOMode.OUTPUT

        def create_execution_context(self, strategy: str = "STATIC") -> ExecutionContext:
            assert strategy == "USER_MANAGED"
            gpu.require_context()
            return ExecutionContext(self)

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            started(logger)
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None:
            if serialized_engine[:4] != b"PLAN" or serialized_engine in gpu.corrupt:
                self._logger.log(Severity.ERROR, "Serialization assertion failed.")  # type: ignore[attr-defined]
                return None
            return CudaEngine(serialized_engine[4:])

    flags = types.SimpleNamespace(STRONGLY_TYPED=1) if major == 10 else types.SimpleNamespace()
    for name, value in {
        "__version__": gpu.version, "ILogger": ILogger, "IProgressMonitor": IProgressMonitor, "Builder": Builder,
        "Runtime": Runtime, "OnnxParser": OnnxParser, "TensorIOMode": TensorIOMode,
        "NetworkDefinitionCreationFlag": flags,
        "BuilderFlag": types.SimpleNamespace(TF32="TF32"),
        "MemoryPoolType": types.SimpleNamespace(WORKSPACE="WORKSPACE"),
        "ExecutionContextAllocationStrategy": types.SimpleNamespace(USER_MANAGED="USER_MANAGED"),
        "nptype": np.dtype,
    }.items():  # fmt: skip
        setattr(trt, name, value)
    return trt


class LibCuda:
    """libcuda's calls for graphs, each with the types that ctypes must hand over."""

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self._graphs: dict[int, list[Callable[[], None]]] = {}

    def cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: ctypes.c_int) -> int:
        assert (stream.value, mode.value) == (0x5EED, 1)
        self._gpu.require_context()
        self._gpu.recording = []
        return 0

    def cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:
        recorded, self._gpu.recording = self._gpu.recording, None
        if self._gpu.cannot_record or recorded is None:
            return 900
        graph._obj.value = 0x6000 + len(self._graphs)
        self._graphs[graph._obj.value] = recorded
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: ctypes.c_void_p, flags: ctypes.c_ulonglong) -> int:
        assert isinstance(flags, ctypes.c_ulonglong)
        executable._obj.value = graph.value
        return 0

    def cuGraphLaunch(self, executable: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:
        self._gpu.launches += 1
        for work in self._graphs[executable.value or 0]:
            work()
        return 0

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:
        return 0

    def cuGraphExecDestroy(self, executable: ctypes.c_void_p) -> int:
        del self._graphs[executable.value or 0]
        return 0

    def cuGetErrorString(self, result: ctypes.c_int, text: Any) -> int:
        text._obj.value = b"operation not permitted when stream is capturing"
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self._gpu.driver_cuda
        return 0


def install(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    """The fake in the place of the real modules, and an empty cache."""
    driver = pycuda_driver(gpu)
    package = types.ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    for name, module in {"pycuda": package, "pycuda.driver": driver, "tensorrt": tensorrt(gpu)}.items():
        monkeypatch.setitem(sys.modules, name, module)
    library = LibCuda(gpu)
    monkeypatch.setattr(cuda, "_cuda", lambda: library)
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    for cached in (cuda.gpu, tensorrt_build.tensorrt, tensorrt_build._logger):
        cached.cache_clear()
    return gpu


def uninstall() -> None:
    """Forgets what was remembered of the fake."""
    for cached in (cuda.gpu, tensorrt_build.tensorrt, tensorrt_build._logger):
        cached.cache_clear()
