"""Every model by name, one row each: its network, its live form for export, its adapter and its rate.

Adding a model is adding one row here. A row names code as "module:attribute", so that reading it imports nothing; each
user resolves what it needs with `resolve`: `models.create` the network, `engines.papers` the live form, and
`service.adapters.registry` the adapter.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from models.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """Describe one model. Code is named as "module:attribute"; an empty text says that the model has no such part.

    Attributes:
        name: What `--model`, `weights import` and `models.create` know the model by.
        network: The class of the network, a `torch.nn.Module`; empty for a model that is no network of this project.
        parts: The names of the networks that the model is made of, its own first; each has its own checkpoint.
        live: The class of the live form, which is exported as ONNX; it takes the networks of `parts` in their order.
        live_inputs: The function that gives the live form's example inputs (a batch of two) for the model's network.
        adapter: The class of the adapter, which makes the network's inputs live; empty for a model that only is a part.
        rate: Predictions a second that one session wants where no option says otherwise.
        waits: Whether a live event waits for the prediction of its own frame. Only a network that answers within a few
            milliseconds should; events of the others hold the last prediction while the next one is computed.
        engine: The only engine and precision that runs the model; empty where every engine may.
        package: The Python package that the model needs beside what serving installs, and the name of the extra that
            installs it; empty for none.
        card: The name of its card in `models/cards`, without `.md`; several models of a paper may share one.
    """

    name: str
    network: str = ""
    parts: tuple[str, ...] = ()
    live: str = ""
    live_inputs: str = ""
    adapter: str = ""
    rate: float = 30.0
    waits: bool = False
    engine: str = ""
    package: tuple[str, str] | tuple[()] = ()
    card: str = ""

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", (self.name,))
        if not self.card:
            object.__setattr__(self, "card", self.name)


_NETWORKS = "models.networks"
_LIVE = "engines.papers.live_networks"
_ADAPTERS = "service.adapters"


def _landmarked(name: str, network: str) -> ModelRow:
    """Return the row of a recurrent network of the VGG family that reads landmarks, trained on 30 frames a second."""
    return ModelRow(
        name=name,
        network=network,
        live=f"{_LIVE}:LiveRecurrent",
        live_inputs=f"{_LIVE}:landmark_inputs",
        adapter=f"{_ADAPTERS}.vgg:VGG",
        card="affwildnet",
    )


ROWS: tuple[ModelRow, ...] = (
    ModelRow(name="face-mt", adapter=f"{_ADAPTERS}.face_mt:FaceMT", waits=True),  # its file ships: weights.toml
    ModelRow(
        name="tsav",
        network=f"{_NETWORKS}.tsav:TSAV",
        live=f"{_LIVE}:LiveTSAV",
        live_inputs=f"{_LIVE}:tsav_inputs",
        adapter=f"{_ADAPTERS}.tsav:TSAV",
        rate=5.0,  # the published step between the frames of a clip is 0.2 s
    ),
    ModelRow(
        name="mimamo",
        network=f"{_NETWORKS}.mimamo:MIMAMO",
        parts=("mimamo", "ferplus-resnet50"),
        live=f"{_LIVE}:LiveMIMAMO",
        live_inputs=f"{_LIVE}:mimamo_inputs",
        adapter=f"{_ADAPTERS}.mimamo:MIMAMO",
    ),
    ModelRow(name="ferplus-resnet50", network=f"{_NETWORKS}.ferplus_resnet50:FerPlusResNet50", card="mimamo"),
    ModelRow(
        name="descriptors",
        network=f"{_NETWORKS}.descriptors:Descriptors",
        live=f"{_LIVE}:LiveDescriptors",
        live_inputs=f"{_LIVE}:descriptor_inputs",
        adapter=f"{_ADAPTERS}.descriptors:Descriptors",
        rate=10.0,
    ),
    ModelRow(
        name="descriptors-ensemble",
        network=f"{_NETWORKS}.descriptors:DescriptorsEnsemble",
        live=f"{_LIVE}:LiveEnsemble",
        live_inputs=f"{_LIVE}:ensemble_inputs",
        adapter=f"{_ADAPTERS}.descriptors:Descriptors",
        rate=10.0,
        card="descriptors",
    ),
    _landmarked("affwildnet", f"{_NETWORKS}.affwildnet:AffWildNet"),
    _landmarked("cnn-3rnn", f"{_NETWORKS}.multi_rnn:CNN3RNN"),
    _landmarked("cnn-1rnn", f"{_NETWORKS}.multi_rnn:CNN1RNN"),
    _landmarked("fusion-rnn", f"{_NETWORKS}.multi_rnn:FusionRNN"),
    _landmarked("fusion-fc", f"{_NETWORKS}.multi_rnn:FusionFC"),
    _landmarked("fusion-decision", f"{_NETWORKS}.multi_rnn:FusionDecision"),
    ModelRow(
        name="mt-vgg",
        network=f"{_NETWORKS}.mt_vgg:MTVGG",
        live=f"{_LIVE}:LiveFace",
        live_inputs=f"{_LIVE}:face_inputs",
        adapter=f"{_ADAPTERS}.vgg:VGG",
    ),
    ModelRow(
        name="mt-vgg-gru",
        network=f"{_NETWORKS}.mt_vgg:MTVGGGRU",
        live=f"{_LIVE}:LiveRecurrent",
        live_inputs=f"{_LIVE}:recurrent_inputs",
        adapter=f"{_ADAPTERS}.vgg:VGG",
        card="mt-vgg",
    ),
    ModelRow(
        name="av-mt-vgg-gru",
        network=f"{_NETWORKS}.mt_vgg:AVMTVGGGRU",
        live=f"{_LIVE}:LiveRecurrent",
        live_inputs=f"{_LIVE}:recurrent_inputs",
        adapter=f"{_ADAPTERS}.vgg:VGG",
        card="mt-vgg",
    ),
    ModelRow(
        name="facebehaviornet",
        network=f"{_NETWORKS}.facebehaviornet:FaceBehaviorNet",
        live=f"{_LIVE}:LiveFace",
        live_inputs=f"{_LIVE}:face_inputs",
        adapter=f"{_ADAPTERS}.vgg:VGG",
    ),
    ModelRow(
        name="multiterm",  # boosters: engines.papers.boosted
        adapter=f"{_ADAPTERS}.multiterm:Multiterm",
        engine="openvino:fp32",  # its boosters were trained on the exact features of this engine
        package=("lightgbm", "multiterm"),
    ),
)


def row(name: str) -> ModelRow:
    """Return the row of the model `name`. Raise `ModelError` with the known names if there is none."""
    for one in ROWS:
        if one.name == name:
            return one
    raise ModelError(f"There is no model {name!r}; there are: {', '.join(one.name for one in ROWS)}.")


def networks() -> tuple[str, ...]:
    """Return the names of the rows that have a network, which are those that `models.create` makes."""
    return tuple(one.name for one in ROWS if one.network)


def systems() -> tuple[str, ...]:
    """Return the names of the papers' networks that can be served: they have a live form, which is exported as ONNX."""
    return tuple(one.name for one in ROWS if one.live)


def served() -> tuple[str, ...]:
    """Return the names that `--model` takes: those of the rows that have an adapter."""
    return tuple(one.name for one in ROWS if one.adapter)


def resolve(name: str) -> Any:
    """Return the attribute that "module:attribute" names, importing its module."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
