"""What is on this machine to run networks with, and what would be chosen. For `affectstream engines doctor`."""

import ctypes.util
import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

from engines import weights
from engines.cache import cache_dir
from engines.load import models
from engines.openvino import capabilities, core, resolve_precision


def rows() -> list[dict[str, str]]:
    """Rows of `what` and `found`. Imports nothing heavy: torch and TensorRT are looked for, not loaded."""
    table = {
        "CPU": str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip(),
        "cores": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} usable",
        "memory": _memory(),
        "CPU computes": ", ".join(c for c in capabilities() if c in ("FP32", "BF16", "FP16", "INT8")),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "OpenVINO": f"{version('openvino')}, devices {', '.join(core().available_devices)}",
        "TensorRT": _gpu_engine("tensorrt", "tensorrt-cu13"),
        "torch": _installed("torch", "torch", "pip install 'affectstream[train]'"),
        "int8 quantisation": _installed("nncf", "nncf", "pip install 'affectstream[quantize]'"),
        "PortAudio": "found" if _port_audio() else "not found: no microphone; apt-get install libportaudio2",
        "cache": _cache(),
        "weights": _weights(),
        "would run": f"{', '.join(models()) or 'no model'} on openvino:{resolve_precision('auto')}",
    }
    return [{"what": what, "found": found} for what, found in table.items()]


def _installed(module: str, package: str, hint: str) -> str:
    if importlib.util.find_spec(module) is None:
        return f"not installed ({hint})"
    try:
        return version(package)
    except PackageNotFoundError:
        return "installed"


def _gpu_engine(module: str, package: str) -> str:
    found = _installed(module, package, "pip install 'affectstream[gpu]', needs an NVIDIA GPU")
    driver = "NVIDIA driver found" if ctypes.util.find_library("cuda") else "no NVIDIA driver"
    return f"{found}; {driver}"


def _port_audio() -> bool:
    """sounddevice brings the library along on Windows and macOS."""
    return platform.system() != "Linux" or ctypes.util.find_library("portaudio") is not None


def _memory() -> str:
    import psutil

    memory = psutil.virtual_memory()
    return f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"


def _cache() -> str:
    folder = cache_dir()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(there, os.W_OK):
        return f"{folder} cannot be written; set AFFECTSTREAM_CACHE to another folder"
    return f"{folder}, {shutil.disk_usage(there).free / 2**30:.1f} GiB free"


def _weights() -> str:
    states = {e.name: weights.state(e) for e in weights.entries() if not e.optional}
    missing = [name for name, state in states.items() if state != "ready"]
    if not missing:
        return f"{len(states)} files ready"
    return (
        f"{len(states) - len(missing)} of {len(states)} ready; `affectstream weights pull` fetches {', '.join(missing)}"
    )
