"""RAVDESS as `affectstream prepare` wrote it, who is held out of it, and what a clip is a target for.

RAVDESS (Livingstone & Russo 2018): 24 actors say two sentences in eight manners, all but neutral in two intensities.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.face_mt.data import read
from models.face_mt.votes import CIRCUMPLEX
from models.voice_mt.network import AFFECT, CLASSES, COLUMNS

Floats = NDArray[np.float64]

# RAVDESS' emotion field 1..8 -> CLASSES.
_EMOTION = np.array([CLASSES.index(c) for c in (
    "neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise",
)])  # fmt: skip
FOLDS = 4
NO_SPEECH, CALM, NEUTRAL = (CLASSES.index(c) for c in ("no_speech", "calm", "neutral"))
SPOKEN = len(CLASSES) - 1  # classes of a voice
# Valence and arousal of the classes as for faces; calm, which is served as neutral, has neutral's place.
POSITIONS: Floats = np.array([CIRCUMPLEX.get(c, (0.0, 0.0)) for c in CLASSES[:SPOKEN]])
NORMAL_AROUSAL = 0.7  # of a class's arousal for RAVDESS' normal intensity, 1 for its strong one: our choice, unmeasured
SILENCE_DB = -100.0
LOUD_DB = 30.0  # a column this far below the loudest is a pause
SETTLED = 100  # columns of speech before a window is asked for an answer
AFTER = 60  # columns after the last word for which it still is


@dataclass(frozen=True)
class Clips:
    """n clips: `mel` (n, 64, columns) dB, the columns in use, class, actor, whether of strong intensity."""

    mel: NDArray[np.float16]
    length: NDArray[np.int64]
    label: NDArray[np.int64]
    actor: NDArray[np.int64]
    strong: NDArray[np.bool_]
    spoken: NDArray[np.int64]  # (n, 2) first loud column and the one after the last
    name: NDArray[np.str_]  # of the recording, without its suffix

    def affect(self) -> Floats:
        """(n, 2) valence and arousal that the class and the intensity stand for."""
        scale = np.stack([np.ones(len(self.label)), np.where(self.strong, 1.0, NORMAL_AROUSAL)], 1)
        return np.asarray(POSITIONS[self.label] * scale, np.float64)


def clips(folder: Path) -> Clips:
    """The prepared shards of RAVDESS. Raises FileNotFoundError where there are none."""
    columns = read(folder)
    mel, length = columns["mel"].astype(np.float16), columns["length"].astype(np.int64)
    return Clips(
        mel,
        length,
        _EMOTION[columns["emotion"].astype(np.int64) - 1],
        columns["actor"].astype(np.int64),
        columns["intensity"].astype(np.int64) == 2,
        np.array([_spoken(one[:, :n]) for one, n in zip(mel, length, strict=True)]),
        columns["name"].astype(np.str_),
    )


def fold_actors(fold: int) -> NDArray[np.int64]:
    """The six actors held out in `fold`: three women and three men."""
    return np.array([a for a in range(1, 25) if ((a - 1) // 2) % FOLDS == fold])


def affect_of(out: Tensor) -> Tensor:
    """(n, 13) of the network -> (n, 2) valence and arousal: half what it says outright, which varies too much, and half
    the expected place of the classes, which varies too little.
    """
    p = torch.softmax(out[:, :SPOKEN], 1)
    outright = torch.tanh(out[:, len(CLASSES) : len(CLASSES) + AFFECT])
    return (outright + p @ torch.tensor(POSITIONS, dtype=p.dtype)) / 2


def _spoken(mel: NDArray[np.float16]) -> tuple[int, int]:
    level = mel.max(0)
    loud = np.flatnonzero(level > level.max() - LOUD_DB)
    return int(loud[0]), int(loud[-1]) + 1


def window(mel: NDArray[np.float16], end: int) -> NDArray[np.float32]:
    """(64, 301) that ends at column `end`; before the clip there is silence."""
    out = np.full((mel.shape[0], COLUMNS), SILENCE_DB, np.float32)
    first = max(0, end - COLUMNS)
    out[:, COLUMNS - (end - first) :] = mel[:, first:end]
    return out
