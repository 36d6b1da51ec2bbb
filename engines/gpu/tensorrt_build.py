"""From an ONNX file to a TensorRT plan for this machine's GPU, kept in the cache; for TensorRT 10 and 11.

Networks are strongly typed: each tensor has the type that the file gives it, so that a precision is chosen by writing
the file in it (`engines.gpu.half`, `engines.quantize`). A plan is valid for one GPU, one TensorRT and one file. It is
built anew where one of them changes, and where TensorRT cannot read the plan.
"""

import hashlib
import json
import logging
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engines.batches import Shapes
from engines.cache import cache_dir
from engines.errors import EngineError
from engines.gpu.cuda import INSTALL, Gpu
from engines.gpu.cuda import version as cuda_version
from models.files import written_whole

log = logging.getLogger(__name__)

# In the order in which they are tried; int8 is last, because its gain over fp16 has not been measured on a GPU yet.
PRECISIONS = ("fp16", "bf16", "fp32", "int8")
MAJORS = (10, 11)  # major versions of TensorRT that this file is written for
# Batch sizes (least, best, most) that kernels are chosen for: a few sessions, and many.
PROFILES = ((1, 1, 4), (1, 16, 64))
_WORKSPACE = 4 << 30  # bytes that a layer may use while it runs; less where less is free


@cache
def tensorrt() -> Any:
    """Return the module `tensorrt`. Raise `EngineError` if it is missing or of another major version."""
    try:
        import tensorrt as module
    except (ImportError, OSError, RuntimeError) as error:  # its libraries are loaded on import
        raise EngineError(f"TensorRT cannot be loaded ({error}): {INSTALL}.") from error
    if int(module.__version__.split(".")[0]) not in MAJORS:
        raise EngineError(f"TensorRT {module.__version__} is not one that is known here: 10 and 11 are.")
    return module


def profiles(inputs: Shapes) -> list[dict[str, tuple[tuple[int, ...], ...]]]:
    """Return the (least, best, most) shapes of each input for each of `PROFILES`.

    `inputs` are the shapes with -1 for the batch. Raise `EngineError` for an input with another open dimension.
    """
    for name, shape in inputs.items():
        if shape[0] != -1 or -1 in shape[1:]:
            raise EngineError(f"The input {name!r} of shape {shape} must be free in its batch, and in nothing else.")
    return [
        {name: tuple((batch, *shape[1:]) for batch in batches) for name, shape in inputs.items()}
        for batches in PROFILES
    ]


def key(gpu: Gpu, onnx_sha256: str, precision: str) -> str:
    """Return a key of everything that a plan depends on."""
    parts = [gpu.name, *gpu.capability, tensorrt().__version__, onnx_sha256, precision, PROFILES, _code()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def plan(gpu: Gpu, onnx: Path, precision: str) -> Any:
    """Return the `ICudaEngine` of an ONNX file in float32 (quantised for "int8"), from the cache or newly built.

    Building takes minutes. The GPU's context must be current. Raise `EngineError` if the file cannot be built.
    """
    source = onnx.read_bytes()
    path = cache_dir() / "tensorrt" / f"{key(gpu, hashlib.sha256(source).hexdigest(), precision)}.plan"
    logger = _logger()
    logger.last = ""
    runtime = _started(lambda: tensorrt().Runtime(logger), gpu, logger)
    with suppress(OSError):
        kept = runtime.deserialize_cuda_engine(path.read_bytes())
        if kept is not None:
            return kept
        log.warning("the TensorRT plan %s cannot be read and is built anew: %s", path.name, logger.last)
    log.info("building %s for the %s in %s with TensorRT, which takes minutes", onnx.name, gpu.name, precision)
    serialized = _build(gpu, _typed(source, onnx, precision), onnx.name, logger)
    _keep(path, serialized)
    made = runtime.deserialize_cuda_engine(serialized)
    if made is None:
        raise EngineError(f"TensorRT does not read its own plan of {onnx.name}: {logger.last}.")
    return made


@cache
def _code() -> str:
    """Return a hash of the code that writes the types into a file."""
    return hashlib.sha256(Path(__file__).with_name("half.py").read_bytes()).hexdigest()


def _typed(source: bytes, path: Path, precision: str) -> bytes:
    """Return the file in the types of a precision. Raise `EngineError` without onnx."""
    if precision in ("fp32", "int8"):  # the file has these types already
        return source
    try:
        import onnx

        from engines.gpu.half import halved
    except ImportError:
        raise EngineError(f"TensorRT in {precision} needs the package onnx: {INSTALL}.") from None
    model = onnx.load_model_from_string(source)
    model.graph.name = path.stem
    return bytes(halved(model, precision).SerializeToString())


def _build(gpu: Gpu, source: bytes, name: str, logger: Any) -> bytes:
    """Return the plan of an ONNX file. Raise `EngineError` if TensorRT cannot read or build it."""
    trt = tensorrt()
    builder = _started(lambda: trt.Builder(logger), gpu, logger)
    # All networks of TensorRT 11 are strongly typed, and it has no flag for that.
    flag = 0 if _major() >= 11 else 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flag)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(source):
        raise EngineError(f"TensorRT cannot read {name}: {'; '.join(_faults(parser)) or logger.last}.")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # perception and references need all digits of float32
    free, _ = gpu.driver.mem_get_info()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, min(_WORKSPACE, free // 2))
    for shapes in profiles(_inputs(network)):
        profile = builder.create_optimization_profile()
        for tensor, (least, best, most) in shapes.items():
            profile.set_shape(tensor, least, best, most)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"TensorRT refuses the batch sizes of {name}: {logger.last}.")
    timings = cache_dir() / "tensorrt" / f"{trt.__version__}-{gpu.capability[0]}{gpu.capability[1]}.timings"
    _use_timings(config, timings)
    progress = _progress(name)
    config.progress_monitor = progress
    try:
        built = builder.build_serialized_network(network, config)
    finally:
        progress.close()
    if progress.interrupted:
        raise KeyboardInterrupt
    if built is None:
        raise EngineError(f"TensorRT cannot build {name} for the {gpu.name}: {logger.last}.")
    _keep(timings, bytes(config.get_timing_cache().serialize()))
    return bytes(built)


def _use_timings(config: Any, path: Path) -> None:
    """Load the measured times of kernels, so that a build measures only kernels that are new."""
    known = b""
    with suppress(OSError):
        known = path.read_bytes()
    if not config.set_timing_cache(config.create_timing_cache(known), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)  # the times were damaged or of another GPU


def _started(make: Any, gpu: Gpu, logger: Any) -> Any:
    """Return the `Builder` or `Runtime` that `make` makes. Raise `EngineError` if the driver is too old for it."""
    try:
        return make()
    except (TypeError, RuntimeError) as error:
        raise EngineError(
            f"TensorRT {tensorrt().__version__} does not start with this NVIDIA driver, which runs CUDA up to "
            f"{cuda_version(gpu.cuda)}: {logger.last or error}; update the driver."
        ) from error


def _major() -> int:
    """Return the major version of TensorRT."""
    return int(tensorrt().__version__.split(".")[0])


def _faults(parser: Any) -> list[str]:
    """Return what the parser found wrong with a file."""
    return [str(parser.get_error(index).desc()).rstrip(".") for index in range(parser.num_errors)]


def _inputs(network: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the network's inputs by name."""
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    return {str(tensor.name): tuple(tensor.shape) for tensor in tensors}


def _keep(path: Path, content: bytes) -> None:
    """Write a file to the cache, whole or not at all. Where that fails, the next start builds again."""
    try:
        with written_whole(path) as aside:
            aside.write_bytes(content)
    except OSError as error:
        log.warning("%s cannot be kept, and will be built again: %s", path.name, error.strerror)


@cache
def _logger() -> Any:
    """Return the process's logger for TensorRT, which passes its messages on; `last` is its newest error."""
    trt = tensorrt()
    levels = {trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR, trt.ILogger.Severity.ERROR: logging.ERROR,
              trt.ILogger.Severity.WARNING: logging.INFO}  # fmt: skip

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        last = ""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                self.last = msg.strip().rstrip(".")
            log.log(logging.INFO if level == logging.ERROR else level, "TensorRT: %s", msg)

    return Logger()


def _progress(name: str) -> Any:
    """Return a monitor with a progress bar for the outermost phase of a build.

    An interrupt stops the build between two steps.
    """
    trt = tensorrt()

    class Progress(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._bars: dict[str, tqdm[Any]] = {}
            self.interrupted = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._bars[phase_name] = tqdm(total=num_steps, desc=f"{name}: {phase_name}", leave=False)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if phase_name in self._bars:
                    self._bars[phase_name].update()
            except KeyboardInterrupt:  # it arrives where Python code runs, and cannot pass through TensorRT
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            if phase_name in self._bars:
                self._bars.pop(phase_name).close()

        def close(self) -> None:
            for bar in self._bars.values():
                bar.close()

    return Progress()
