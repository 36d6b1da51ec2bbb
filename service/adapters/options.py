"""The options of models, `--model-option NAME=VALUE`, read and checked once, at the start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import UserError
from models.networks.phase import Unwrap
from service.perception.mel import Mode


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Say how a paper's system is run live; each model reads the options that concern it.

    Attributes:
        rate: Predictions per second of the session clock at most; None takes the model's own rate.
        sound: TSAV's window of sound: "past10" is the last 10 s, "truncate" what the reference does at a file's end,
            "delayed" the published window, centred, 5 s late.
        sound_rate: Readings of the sound per second, if fewer than predictions; None takes TSAV's own.
        state: "carry" keeps the state of recurrent networks all along; "chunk" begins with zeros every training
            sequence.
        phase: "trailing" gives MIMAMO the last 13 frames; "delayed" those around the frame 6 ago, as published.
        unwrap: How MIMAMO's phases are unwrapped: "reference" as in the published code, which misses falls, or
            "correct".
        smoothing: "own" is the model's own: running means of the embeddings of the descriptors, none elsewhere. "off"
            takes these means away; "median" gives trailing medians of valence and arousal for `cnn-*` and `fusion-*`.
        legacy_axis: Whether MIMAMO recurs over the batch, as in the published code, so that it reads each frame alone.
    """

    rate: float | None = None
    sound: Mode = "past10"
    sound_rate: float | None = None
    state: str = "carry"
    phase: str = "trailing"
    unwrap: Unwrap = "reference"
    smoothing: str = "own"
    legacy_axis: bool = False


_RATES = {"rate": "predictions", "sound_rate": "readings of the sound"}
_CHOICES = {
    "sound": ("past10", "truncate", "delayed"),
    "state": ("carry", "chunk"),
    "phase": ("trailing", "delayed"),
    "unwrap": ("reference", "correct"),
    "smoothing": ("own", "off", "median"),
    "legacy_axis": ("false", "true"),
}


def read_options(given: Sequence[str]) -> ModelOptions:
    """Return the options in NAME=VALUE texts. Raise `UserError` for an unknown name or value."""
    values: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or name not in (*_CHOICES, *_RATES):
            known = ", ".join((*_RATES, *_CHOICES))
            raise UserError(f"--model-option {text} is not NAME=VALUE with NAME one of {known}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UserError(f"--model-option {text}: {name} is one of {', '.join(_CHOICES[name])}")
        values[name] = _rate(name, value) if name in _RATES else value
    if "legacy_axis" in values:
        values["legacy_axis"] = values["legacy_axis"] == "true"
    return ModelOptions(**values)


def _rate(name: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise UserError(f"--model-option {name}={text}: give {_RATES[name]} per second, such as 5")
    return rate
