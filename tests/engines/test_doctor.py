"""What the doctor says of GPUs and the engines that need one, with and without them."""

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from engines import doctor
from engines.gpu import cuda
from engines.openvino import precisions
from models import registry


class Library:
    """libcuda with one GPU, as far as the doctor asks it."""

    def __init__(self, driver: int = 13010, gpus: int = 1) -> None:
        self._driver, self._gpus = driver, gpus

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self._driver
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0 if self._gpus else 100

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self._gpus
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: ctypes.c_int) -> int:  # noqa: N802
        name.value = b"NVIDIA Imagined 9000"
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, device: ctypes.c_int) -> int:  # noqa: N802
        size._obj.value = 141 << 30
        return 0


def no_library() -> Any:
    raise OSError("libcuda.so.1: cannot open shared object file")


def asked(monkeypatch: pytest.MonkeyPatch, *, installed: tuple[str, ...], library: Any, torch: str) -> dict[str, str]:
    found = importlib.util.find_spec
    monkeypatch.setattr(cuda, "_cuda", library)
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name: (object() if name in installed else None)
        if name in ("tensorrt", "pycuda", "torch", "onnx") else found(name),
    )  # fmt: skip
    real = doctor.version
    versions = {"torch": torch, "tensorrt-cu13": "11.4.0", "pycuda": "2026.1"}
    monkeypatch.setattr(doctor, "version", lambda name: versions[name] if name in versions else real(name))
    return {row["what"]: row["found"] for row in doctor.rows()}


def test_a_machine_without_a_gpu_is_told_what_each_engine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = asked(monkeypatch, installed=("torch", "onnx"), library=no_library, torch="2.13.0+cpu")
    assert rows["GPU"] == "no NVIDIA driver"
    assert rows["TensorRT"].startswith("not installed (pip install 'affectstream[gpu]'")
    assert rows["--engine tensorrt"] == (
        "lacks the package tensorrt, the package pycuda, an NVIDIA driver; openvino would be used instead"
    )
    assert rows["--engine torch"].startswith("lacks a torch that is built for CUDA, an NVIDIA driver;")
    assert rows["--engine openvino"].startswith("runs, in ")
    assert rows["--engine openvino"].endswith("used unless --engine names another")
    assert rows["face-mt would run on"].startswith("openvino:")


def test_a_machine_with_a_gpu_is_told_its_name_and_the_drivers_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = ("torch", "onnx", "tensorrt", "pycuda")
    rows = asked(monkeypatch, installed=everything, library=Library, torch="2.13.0+cu130")
    assert rows["GPU"] == "NVIDIA Imagined 9000 (141 GiB); the driver runs CUDA up to 13.1"
    assert rows["TensorRT"] == "11.4.0"
    assert rows["--engine tensorrt"].startswith("may run; it is compared with fp32 first")
    assert rows["--engine torch"].startswith("may run")


def test_a_driver_without_a_gpu_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = asked(monkeypatch, installed=(), library=lambda: Library(12080, 0), torch="")
    assert rows["GPU"] == "no GPU that the NVIDIA driver (CUDA 12.8) can use"


def test_every_system_that_can_be_served_says_where_it_can_run_and_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> None:
    rows = asked(monkeypatch, installed=("torch", "onnx"), library=no_library, torch="2.13.0+cpu")
    for name in registry.served():
        assert f"{name} would run on" in rows or f"{name} can run on" in rows
    here = f"openvino in {' or '.join(precisions())}"
    assert rows["tsav can run on"] == f"{here}; lacks weights (affectstream weights import tsav FILE)"
    assert rows["mimamo can run on"].count("affectstream weights import") == 2  # it is made of two networks
    assert rows["multiterm can run on"].startswith("openvino:fp32; lacks weights (affectstream weights import multi")
    everything = ("torch", "onnx", "tensorrt", "pycuda")
    rows = asked(monkeypatch, installed=everything, library=Library, torch="2.13.0+cu130")
    assert rows["tsav can run on"].startswith(f"{here}, tensorrt, torch; lacks weights")
    (fresh_cache / "checkpoints").mkdir()
    (fresh_cache / "checkpoints" / "tsav.json").write_text("{}")
    assert asked(monkeypatch, installed=(), library=no_library, torch="")["tsav can run on"] == (
        f"{here}; lacks the package torch (pip install 'affectstream[train]')"
    )
