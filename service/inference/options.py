"""What may be said about a model with `--model-option NAME=VALUE`, read and checked once, at the start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from engines.errors import UserError
from service.perception.mel import Mode


@dataclass(frozen=True, slots=True)
class Options:
    """How a paper's system is run live; each model heeds what applies to it."""

    rate: float | None = None  # predictions per second of the session clock at most; None: the model's own
    sound: Mode = "past10"  # TSAV's window of sound: the last 10 s, or as the reference at a file's end, or 5 s late
    state: str = "carry"  # of recurrent networks: carried all along, or "chunk": from zero every training sequence
    phase: str = "trailing"  # MIMAMO's 13 frames: the last ones, or "delayed": around the frame 6 ago, as published


_CHOICES = {"sound": ("past10", "truncate", "delayed"), "state": ("carry", "chunk"), "phase": ("trailing", "delayed")}


def read_options(given: Sequence[str]) -> Options:
    """From NAME=VALUE texts. Raises `UserError` for what there is not."""
    values: dict[str, str] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or name not in (*_CHOICES, "rate"):
            raise UserError(f"--model-option {text} is not NAME=VALUE with NAME one of rate, {', '.join(_CHOICES)}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UserError(f"--model-option {text}: {name} is one of {', '.join(_CHOICES[name])}")
        values[name] = value
    return Options(rate=_rate(values), **cast(Mapping[str, Mode], {k: v for k, v in values.items() if k != "rate"}))


def _rate(values: Mapping[str, str]) -> float | None:
    if "rate" not in values:
        return None
    try:
        rate = float(values["rate"])
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise UserError(f"--model-option rate={values['rate']}: give predictions per second, such as 5")
    return rate
