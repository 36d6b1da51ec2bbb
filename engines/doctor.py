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
from engines.load import expected
from engines.openvino import capabilities, core, precisions
from engines.papers import store
from models import registry

_GPU_EXTRA = "pip install 'affectstream[gpu]', with an NVIDIA GPU"
_GPU_NEEDS = {"tensorrt": ("tensorrt", "pycuda", "onnx"), "torch": ("torch", "onnx")}  # packages of each engine
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
        **{f"--engine {engine}": _gpu_engine(needed) for engine, needed in _GPU_NEEDS.items()},
        **{f"{model} would run on": expected(model) for model in weights.models()},
        **{f"{name} can run on": _system(name) for name in registry.served() if name not in weights.models()},
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


def _lacks(needed: tuple[str, ...]) -> list[str]:
    """Return what an engine that needs a GPU and those packages lacks here."""
    lacks = [f"the package {name}" for name in needed if importlib.util.find_spec(name) is None]
    if "torch" in needed and not lacks and version("torch").endswith("+cpu"):
        lacks.append("a torch that is built for CUDA")
    if cuda.driver_version() is None:
        lacks.append("an NVIDIA driver")
    return lacks


def _gpu_engine(needed: tuple[str, ...]) -> str:
    """Return whether an engine that needs a GPU would run here, or what it lacks."""
    lacks = _lacks(needed)
    if lacks:
        return f"lacks {', '.join(lacks)}; openvino would be used instead"
    return "may run; it is compared with fp32 first, and openvino is used where it differs"


def _system(name: str) -> str:
    """Return the engines that can run a paper's system here, and what is missing before they do."""
    row = registry.row(name)
    gpu = [engine for engine, needed in _GPU_NEEDS.items() if not _lacks(needed)]
    found = row.engine or ", ".join((f"openvino in {' or '.join(precisions())}", *gpu))
    lacks = []
    if row.package and importlib.util.find_spec(row.package[0]) is None:
        lacks.append(f"the package {row.package[0]} (pip install 'affectstream[{row.package[1]}]')")
    if row.live and importlib.util.find_spec("torch") is None:
        lacks.append(f"the package torch ({_TRAIN_EXTRA})")
    lacks += [f"weights (affectstream weights import {part} FILE)" for part in row.parts if not store.known(part)]
    return f"{found}; lacks {', '.join(lacks)}" if lacks else found


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
