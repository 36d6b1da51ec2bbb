"""What this machine has to run networks with, and which engine it would use: `affectstream engines doctor`."""

import ctypes.util
import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

from engines import weights
from engines.cache import cache_dir
from engines.cores import cpu_quota, usable_cores
from engines.gpu import cuda
from engines.load import expected, models
from engines.openvino import capabilities, core, precisions

_GPU_EXTRA = "pip install 'affectstream[gpu]', with an NVIDIA GPU"
_TRAIN_EXTRA = "pip install 'affectstream[train]'"


def rows() -> list[dict[str, str]]:
    """Return the table's rows, each with `what` and `found`. PyTorch and TensorRT are looked for and not imported."""
    table = {
        "CPU": str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip(),
        "cores": _cores(),
        "memory": _memory(),
        "CPU computes": ", ".join(c for c in capabilities() if c in ("FP32", "BF16", "FP16", "INT8")),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "OpenVINO": f"{version('openvino')}, devices {', '.join(core().available_devices)}",
        "GPU": cuda.seen(),
        "TensorRT": _installed("tensorrt", "tensorrt-cu13", _GPU_EXTRA),
        "pycuda": _installed("pycuda", "pycuda", _GPU_EXTRA),
        "torch": _installed("torch", "torch", _TRAIN_EXTRA),
        "int8 quantisation": _installed("nncf", "nncf", "pip install 'affectstream[quantize]'"),
        "PortAudio": "found" if _port_audio() else "not found: no microphone; apt-get install libportaudio2",
        "cache": _cache(),
        "weights": _weights(),
        "--engine openvino": f"runs, in {' or '.join(precisions())}; used unless --engine names another",
        "--engine tensorrt": _gpu_engine(("tensorrt", "pycuda", "onnx")),
        "--engine torch": _gpu_engine(("torch", "onnx")),
        **{f"{model} would run on": expected(model) for model in models()},
    }
    return [{"what": what, "found": found} for what, found in table.items()]


def _cores() -> str:
    """Return how many cores are usable, and whether a container's quota limits their time."""
    quota = cpu_quota()
    limit = f"; this container is limited to the time of {quota:.2g}" if quota is not None else ""
    return f"{len(usable_cores())} usable{limit}"


def _installed(module: str, package: str, hint: str) -> str:
    """Return the version of an installed package, or that it is not installed and the command that installs it."""
    if importlib.util.find_spec(module) is None:
        return f"not installed ({hint})"
    try:
        return version(package)
    except PackageNotFoundError:
        return "installed"


def _gpu_engine(needed: tuple[str, ...]) -> str:
    """Return whether an engine that needs a GPU would run here, or what it lacks."""
    lacks = [f"the package {name}" for name in needed if importlib.util.find_spec(name) is None]
    if "torch" in needed and not lacks and version("torch").endswith("+cpu"):
        lacks.append("a torch that is built for CUDA")
    if cuda.driver_version() is None:
        lacks.append("an NVIDIA driver")
    if lacks:
        return f"lacks {', '.join(lacks)}; openvino would be used instead"
    return "may run; it is compared with fp32 first, and openvino is used where it differs"


def _port_audio() -> bool:
    """Return whether PortAudio is there; on Windows and macOS it is part of the package sounddevice."""
    return platform.system() != "Linux" or ctypes.util.find_library("portaudio") is not None


def _memory() -> str:
    """Return how much of the machine's memory is free."""
    import psutil

    memory = psutil.virtual_memory()
    return f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"


def _cache() -> str:
    """Return the cache folder and the free space there, or that it cannot be written and what to do."""
    folder = cache_dir()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(there, os.W_OK):
        return f"{folder} cannot be written; set AFFECTSTREAM_CACHE to another folder"
    return f"{folder}, {shutil.disk_usage(there).free / 2**30:.1f} GiB free"


def _weights() -> str:
    """Return how many of the needed weight files are there, and the command that fetches the others."""
    states = {e.name: weights.state(e) for e in weights.entries() if not e.optional}
    missing = [name for name, state in states.items() if state != "ready"]
    if not missing:
        return f"{len(states)} files ready"
    return (
        f"{len(states) - len(missing)} of {len(states)} ready; `affectstream weights pull` fetches {', '.join(missing)}"
    )
