"""What the tests of the papers' systems share: random networks in their live form, compiled, and a face that moves."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from helpers.sources import demo_items

import models
from engines import openvino_split
from engines.load import LoadedEngine
from engines.papers import export
from engines.papers.live_networks import LiveNetwork, live_network
from engines.weights import Weights
from models import registry
from service.adapters.adapter import Adapter
from service.adapters.options import ModelOptions, read_options
from service.adapters.registry import make_adapter
from service.capture.media import Frame, Item, Sound
from service.perception.face import Face
from service.perception.mel import MelStream
from service.perception.networks import Networks
from service.perception.perceive import Perception

_VGG = {"width": 4, "fc": 32}
_FULL = ("tsav", "mimamo", "ferplus-resnet50", "descriptors", "descriptors-ensemble")
SMALL: dict[str, dict[str, Any]] = {
    "tsav": {"width": 8},
    **{name: _VGG for name in models.available() if name not in _FULL},
}

Inputs = dict[str, np.ndarray]


@cache
def networks_of(name: str) -> dict[str, torch.nn.Module]:
    """Random parts of a system in evaluation mode, small where the network allows, whose outputs answer to inputs."""
    made = {}
    for part in registry.row(name).parts:
        torch.manual_seed(1)
        network = models.create(part, **SMALL.get(part, {}))
        for key, x in network.state_dict().items():
            if x.dim() > 3:  # convolutions: He's deviation, and less of it where shortcuts add up
                x.normal_(0, (1.5 / x[0].numel()) ** 0.5)
            elif key.endswith("running_var"):
                x.uniform_(0.5, 1.5)
            elif key.endswith("running_mean"):
                x.normal_(0, 0.1)
        made[part] = network.eval()
    return made


@cache
def live_of(name: str) -> LiveNetwork:
    """Their live form in torch."""
    return live_network(name, networks_of(name))


@cache
def loaded(name: str) -> LoadedEngine:
    """The same, exported and compiled in float32."""
    path = Path(mkdtemp(prefix="affectstream-test-")) / f"{name}.onnx"
    export.write(live_of(name), path)
    engine = openvino_split.opened(path, precision="fp32", threads=1, caching=False)
    weights = Weights(name, path.name, "", "", False, "", "", 0, (), model=name, version="test", trained=False)
    path.unlink()
    return LoadedEngine(engine, weights, None)


def adapter(name: str, *options: str) -> Adapter:
    """A new one."""
    return make_adapter(name, loaded(name), read_options(options) if options else ModelOptions())


@cache
def seen(seconds: float) -> tuple[tuple[float, tuple[Face, ...] | Sound], ...]:
    """The demo's faces, and its sound, in the order in which a session gets them."""
    perception = Perception(Networks())
    return tuple(
        (item.t, item if isinstance(item, Sound) else tuple(perception(item)))
        for item in demo_items(seconds)
        if isinstance(item, (Frame, Sound))
    )


def run(made: Adapter, name: str, items: Any) -> dict[tuple[float, int], tuple[Inputs, Any]]:
    """What the adapter asked, and what it made of the answer, by time and track."""
    engine, mel, found = loaded(name).engine, MelStream(), {}
    for t, item in items:
        if isinstance(item, Sound):
            mel.push(item)
            continue
        asked = made.inputs(t, list(item), mel)
        if asked is None:
            continue
        answered = made.estimates(t, list(item), engine(asked))
        for i, estimate in enumerate(answered.values()):
            found[(estimate.t, estimate.track)] = ({k: v[i] for k, v in asked.items() if len(v)}, estimate)
    return found


def items_of(seconds: float) -> list[Item]:
    """The demo as recorded items."""
    return demo_items(seconds)
