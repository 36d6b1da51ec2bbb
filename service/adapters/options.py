"""What may be said about a model with `--model-option NAME=VALUE`, read and checked once, at the start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engines.errors import UserError
from models.networks.phase import Unwrap
from service.perception.mel import Mode


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a paper's system is run live; each model heeds what applies to it."""

    rate: float | None = None  # predictions per second of the session clock at most; None: the model's own
    sound: Mode = "past10"  # TSAV's window of sound: the last 10 s, or as the reference at a file's end, or 5 s late
    sound_rate: float | None = None  # readings of the sound per second, if fewer than predictions; None: TSAV's own
    state: str = "carry"  # of recurrent networks: carried all along, or "chunk": from zero every training sequence
    phase: str = "trailing"  # MIMAMO's 13 frames: the last ones, or "delayed": around the frame 6 ago, as published
    unwrap: Unwrap = "reference"  # MIMAMO's phases: as in the published code, which misses falls, or "correct"
    legacy_axis: bool = False  # MIMAMO recurs over the batch, as in the published code: it reads each frame alone


_RATES = {"rate": "predictions", "sound_rate": "readings of the sound"}
_CHOICES = {
    "sound": ("past10", "truncate", "delayed"),
    "state": ("carry", "chunk"),
    "phase": ("trailing", "delayed"),
    "unwrap": ("reference", "correct"),
    "legacy_axis": ("false", "true"),
}


def read_options(given: Sequence[str]) -> ModelOptions:
    """From NAME=VALUE texts. Raises `UserError` for what there is not."""
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
