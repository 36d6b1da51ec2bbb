"""The GPU and its CUDA context: memory, streams and events by pycuda, and CUDA graphs, which pycuda lacks.

Everything runs in the device's primary context, which CUDA's runtime, TensorRT and PyTorch use by default, so that all
of them share one context. It is current in a thread only inside `Gpu.current()`. Memory must be freed there as well:
pycuda frees nothing from a thread in which the context is not current.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from engines.errors import EngineError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: the work of other threads does not disturb a recording
MIB = 2**20  # bytes


class Gpu:
    """Hold the first GPU that CUDA shows (`CUDA_VISIBLE_DEVICES` chooses) and its context; `gpu` makes it once."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver  # the module pycuda.driver
        device = driver.Device(0)
        self.name = str(device.name())
        self.capability: tuple[int, int] = tuple(device.compute_capability())
        self.cuda = int(driver.get_driver_version())  # the newest CUDA that the driver runs, such as 13000
        self._context = (
            device.retain_primary_context()
        )  # never detached, because PyTorch uses it until the process ends

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in the calling thread; errors of CUDA inside are raised as `EngineError`."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()
        except self.driver.MemoryError as error:
            raise EngineError(f"The memory of the {self.name} is full; close what else uses it.") from error
        except self.driver.Error as error:
            raise EngineError(f"The {self.name} failed: {error}.") from error

    def require_memory(self, size: int, what: str) -> None:
        """Raise `EngineError` if fewer than `size` bytes are free for `what`; call it inside `current`."""
        free, total = self.driver.mem_get_info()
        if free < size:
            raise EngineError(
                f"{what} needs {size / MIB:.0f} MiB of GPU memory, and {free / MIB:.0f} of the {self.name}'s "
                f"{total / MIB:.0f} MiB are free; close what else uses it."
            )

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.capability[0]}.{self.capability[1]}, CUDA {version(self.cuda)}"


@cache
def gpu() -> Gpu:
    """Return the GPU. Raise `EngineError` without a GPU, a driver or pycuda."""
    try:
        import pycuda.driver as driver
    except ImportError as error:
        raise EngineError(f"TensorRT needs pycuda, which cannot be loaded ({error}): {INSTALL}.") from None
    try:
        driver.init()
        return Gpu(driver)
    except driver.Error as error:
        raise EngineError(f"CUDA finds no NVIDIA GPU that it can use here: {error}.") from error


INSTALL = "pip install 'affectstream[gpu]', which needs NVIDIA's CUDA toolkit and a C++ compiler"


def version(number: int) -> str:
    """Return the text of a CUDA version's number: "13.1" for 13010."""
    return f"{number // 1000}.{number % 1000 // 10}"


def driver_version() -> int | None:
    """Return the newest CUDA that the NVIDIA driver runs, such as 13010, or None without a driver."""
    found = ctypes.c_int()
    try:
        return found.value if _cuda().cuDriverGetVersion(ctypes.byref(found)) == 0 else None
    except OSError:
        return None


def seen() -> str:
    """Return the GPUs that the driver shows and their memory as text, or why there is none; no context is made."""
    number = driver_version()
    if number is None:
        return "no NVIDIA driver"
    count = ctypes.c_int()
    failed = _cuda().cuInit(0) or _cuda().cuDeviceGetCount(ctypes.byref(count))
    if failed or not count.value:
        return f"no GPU that the NVIDIA driver (CUDA {version(number)}) can use"
    names = []
    for index in range(count.value):
        text, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
        _cuda().cuDeviceGetName(text, len(text), ctypes.c_int(index))
        _cuda().cuDeviceTotalMem_v2(ctypes.byref(size), ctypes.c_int(index))
        names.append(f"{text.value.decode(errors='replace')} ({size.value / 2**30:.0f} GiB)")
    return f"{', '.join(names)}; the driver runs CUDA up to {version(number)}"


class Graph:
    """Record the work of a stream once and launch it as a whole; the addresses that it reads and writes must stay.

    `record` puts the work on `stream`, a `pycuda.driver.Stream`. The graph is made, launched and closed where the
    context is current. Raise `EngineError` if the work cannot be recorded.
    """

    def __init__(self, stream: Any, record: Callable[[], None]) -> None:
        self._cuda = _cuda()
        self._stream = ctypes.c_void_p(stream.handle)
        graph = ctypes.c_void_p()
        _check(self._cuda.cuStreamBeginCapture_v2(self._stream, ctypes.c_int(_THREAD_LOCAL)))
        try:
            record()
        finally:  # a stream that stays in recording could not be used again
            ended = self._cuda.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        _check(ended)
        self._made = ctypes.c_void_p()
        try:
            _check(self._cuda.cuGraphInstantiateWithFlags(ctypes.byref(self._made), graph, ctypes.c_ulonglong(0)))
        finally:
            self._cuda.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Do the recorded work again on its stream. Raise `EngineError` if that fails."""
        _check(self._cuda.cuGraphLaunch(self._made, self._stream))

    def close(self) -> None:
        """Free the graph."""
        self._cuda.cuGraphExecDestroy(self._made)


@cache
def _cuda() -> Any:
    """Return the driver's library. Raise `OSError` without one."""
    if sys.platform == "win32":
        return ctypes.WinDLL("nvcuda.dll")
    return ctypes.CDLL("libcuda.so.1")


def _check(result: int) -> None:
    """Raise `EngineError` with CUDA's words for a result other than success."""
    if result != 0:
        text = ctypes.c_char_p()
        _cuda().cuGetErrorString(ctypes.c_int(result), ctypes.byref(text))
        reason = (text.value or b"unknown").decode(errors="replace")
        raise EngineError(f"The GPU could not record or repeat its work as a CUDA graph: {reason} ({result}).")
