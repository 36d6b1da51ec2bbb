"""A model is added by the steps of docs/architecture.md: network, live form, adapter, one row. All else follows."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import models
from engines.papers import export, store
from models import registry
from models.registry import ModelRow
from service.cli import main

pytest.importorskip("torch")

NETWORK = '''
"""Step 1, models/networks/NAME.py: valence from the face's brightness, arousal from its contrast."""

import torch
from torch import Tensor, nn


class Brightness(nn.Module):
    """(batch, 112, 112, 3) grey values of 0 to 1 -> (batch, 2): valence and arousal."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, face: Tensor) -> Tensor:
        grey = face.mean(3).flatten(1)
        return torch.stack([grey.mean(1), grey.std(1)], 1) * self.scale
'''

LIVE = '''
"""Step 2, engines/papers/live_networks.py: the crop as bytes in, outputs by name."""

import torch
from torch import Tensor, nn


class LiveBrightness(nn.Module):
    """(batch, 112, 112, 3) uint8 -> valence_arousal (batch, 2)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, crop: Tensor) -> dict[str, Tensor]:
        return {"valence_arousal": self.network(crop.float() / 255)}


def inputs(network: nn.Module) -> dict[str, Tensor]:
    """A batch of two crops, by the names of the arguments."""
    return {"crop": torch.zeros(2, 112, 112, 3, dtype=torch.uint8)}
'''

ADAPTER = '''
"""Step 3, service/adapters/NAME.py: every frame, the crops of all faces in one batch."""

import numpy as np

from service.adapters.outputs import estimates_of


class BrightnessAdapter:
    """Give the network the aligned crops, and read its outputs by their names."""

    def __init__(self, loaded, options):
        pass

    def inputs(self, t, faces, mel):
        return {"crop": np.stack([face.crop for face in faces])} if faces else None

    def estimates(self, t, faces, outputs):
        return estimates_of(t, faces, outputs)

    def unanswered(self):
        pass
'''

ROW = ModelRow(  # step 4, models/registry.py
    name="brightness",
    network="added_network:Brightness",
    live="added_live:LiveBrightness",
    live_inputs="added_live:inputs",
    adapter="added_adapter:BrightnessAdapter",
    rate=30.0,
)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The model's three modules and its row; no checkpoint and no exported network is kept from elsewhere."""
    for name, text in (("network", NETWORK), ("live", LIVE), ("adapter", ADAPTER)):
        (tmp_path / f"added_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "ROWS", (*registry.ROWS, ROW))
    for module in (export, store):
        monkeypatch.setattr(module, "cache_dir", lambda: tmp_path / "cache")
    yield
    for name in ("network", "live", "adapter"):
        sys.modules.pop(f"added_{name}", None)


def events_of(picture: Path, out: Path, *options: str) -> list[dict[str, Any]]:
    assert main(["analyze", str(picture), "--out", str(out), "--model", "brightness", *options]) == 0
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


@pytest.fixture
def picture(tmp_path: Path, portrait: NDArray[np.uint8]) -> Path:
    path = tmp_path / "portrait.png"
    cv2.imwrite(str(path), portrait[:, :, ::-1])
    return path


@pytest.mark.usefixtures("added")
def test_the_network_can_be_made_by_its_name() -> None:
    assert "brightness" in models.available()
    assert type(models.create("brightness")).__name__ == "Brightness"


@pytest.mark.usefixtures("added")
def test_a_model_that_was_added_reads_a_picture(picture: Path, tmp_path: Path) -> None:
    (event,) = events_of(picture, tmp_path / "out.jsonl", "--untrained")
    assert event["model"]["name"] == "brightness"
    assert event["model"]["trained"] is False
    (face,) = event["faces"]
    assert 0.2 < face["raw"]["valence"] < 0.9
    assert "not_in_model" in face["reasons"]  # it gives neither expressions nor units


@pytest.mark.usefixtures("added")
def test_without_weights_it_says_how_to_import_them(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(picture), "--out", str(tmp_path / "out.jsonl"), "--model", "brightness"]) == 2
    assert "affectstream weights import brightness FILE" in capsys.readouterr().err


@pytest.mark.usefixtures("added")
def test_its_checkpoint_is_imported_and_then_serves(picture: Path, tmp_path: Path) -> None:
    import torch

    (untrained,) = events_of(picture, tmp_path / "random.jsonl", "--untrained")
    torch.save({"scale": torch.tensor([0.5, 0.5])}, tmp_path / "brightness.pt")
    assert main(["weights", "import", "brightness", str(tmp_path / "brightness.pt")]) == 0
    (event,) = events_of(picture, tmp_path / "trained.jsonl")
    assert event["model"]["trained"] is True
    half = untrained["faces"][0]["raw"]["valence"] / 2
    assert event["faces"][0]["raw"]["valence"] == pytest.approx(half, abs=0.02)  # in bf16 where the CPU has it
