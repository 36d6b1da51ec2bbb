"""A manifest of small models in several precisions, as a fixture."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from helpers.small_network import WEIGHT, write_network

from engines import weights


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest with one model in fp32 and a quantised file that is a little off, and one whose int8 is far off."""
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    rows = ""
    for name, precision, factor in (
        ("small", "fp32", 1.0), ("small", "int8", 1.002), ("wrong", "fp32", 1.0), ("wrong", "int8", 1.5),
        ("plain", "fp32", 1.0),
    ):  # fmt: skip
        file = write_network(tmp_path / f"{name}-{precision}.onnx", weight=WEIGHT * np.float32(factor))
        rows += f"""
[[weights]]
name = "{file.stem}"
file = "{file.name}"
computes = "nothing"
licence = "Apache-2.0"
commercial = true
trained_on = "nothing"
sha256 = "{hashlib.sha256(file.read_bytes()).hexdigest()}"
size = {file.stat().st_size}
model = "{name}"
version = "{name}-1"
precision = "{precision}"
sources = [{{ path = "{file.name}" }}]
"""
    manifest = tmp_path / "weights.toml"
    manifest.write_text(rows)
    monkeypatch.setattr(weights, "MANIFEST", manifest)
    return tmp_path
