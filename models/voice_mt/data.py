"""The corpora as `affectstream prepare` wrote them, who is held out, and what a recording is a target for.

RAVDESS (Livingstone & Russo 2018): 24 actors say two English sentences in eight manners, all but neutral in two
intensities. nEMO (Christop 2024): 9 actors say 90 Polish sentences in six manners.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.face_mt.data import read
from models.face_mt.votes import CIRCUMPLEX
from models.voice_mt.descriptors import HOP
from models.voice_mt.network import AFFECT, CLASSES

Floats = NDArray[np.float64]

CORPORA = ("ravdess", "nemo")
FOLDS = 4
NEUTRAL, CALM = CLASSES.index("neutral"), CLASSES.index("calm")
# Valence and arousal of the classes as for faces; calm, which is served as neutral, has neutral's place.
POSITIONS: Floats = np.array([CIRCUMPLEX.get(c, (0.0, 0.0)) for c in CLASSES])
NORMAL_AROUSAL = 0.7  # of a class's arousal for RAVDESS' normal intensity, 1 for its strong one: our choice, unmeasured
# Held out of the file that ships, so that it can be heard on somebody: one man and one woman.
UNHEARD = ("ravdess-01", "ravdess-02")


@dataclass(frozen=True)
class Recordings:
    """Hold n recordings of all corpora, one after the other."""

    samples: NDArray[np.int16]
    speech: NDArray[np.uint8]  # a 255th of the probability, every 10 ms
    start: NDArray[np.int64]  # (n + 1,) frame at which each begins
    label: NDArray[np.int64]  # (n,) of CLASSES
    speaker: NDArray[np.int64]  # (n,) of `speakers`
    corpus: NDArray[np.int64]  # (n,) of CORPORA
    strong: NDArray[np.bool_]
    speakers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)

    def sound(self, row: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the samples of a recording in [-1, 1] and the probability of speech at each of its frames."""
        first, last = int(self.start[row]), int(self.start[row + 1])
        samples = self.samples[first * HOP : last * HOP].astype(np.float32) / np.float32(32767)
        return samples, self.speech[first:last].astype(np.float32) / np.float32(255)

    def affect(self) -> Floats:
        """Return (n, 2) valence and arousal that class and intensity stand for."""
        plain = (self.corpus == CORPORA.index("ravdess")) & ~self.strong
        scale = np.stack([np.ones(len(self)), np.where(plain, NORMAL_AROUSAL, 1.0)], 1)
        return np.asarray(POSITIONS[self.label] * scale, np.float64)

    def fold(self) -> NDArray[np.int64]:
        """Return (n,) the fold in which each recording is held out: of RAVDESS three men and three women each."""
        number = {name: i for i, name in enumerate(self.speakers)}
        of = np.zeros(len(self.speakers), np.int64)
        for corpus in CORPORA:
            own = [name for name in self.speakers if name.startswith(corpus)]
            for i, name in enumerate(own):
                of[number[name]] = (i // 2 if corpus == "ravdess" else i) % FOLDS
        return of[self.speaker]


def recordings(folder: Path) -> Recordings:
    """Return the prepared corpora, sub-folders of `folder`. Raises FileNotFoundError where one is missing.

    Raises `ModelError` where one was prepared by an earlier version.
    """
    parts = {corpus: read(folder / corpus) for corpus in CORPORA}
    for corpus, columns in parts.items():
        if "samples" not in columns:
            raise ModelError(f"{folder / corpus} was prepared by an earlier version; prepare {corpus} again.")
    length = np.concatenate([columns["length"].astype(np.int64) for columns in parts.values()])
    names = np.concatenate([columns["speaker"].astype(np.str_) for columns in parts.values()])
    emotions = np.concatenate([columns["emotion"].astype(np.str_) for columns in parts.values()])
    speakers = tuple(sorted(set(names.tolist()), key=lambda name: (not name.startswith("ravdess"), name)))
    return Recordings(
        np.concatenate([columns["samples"].astype(np.int16) for columns in parts.values()]),
        np.concatenate([columns["speech"].astype(np.uint8) for columns in parts.values()]),
        np.concatenate([[0], np.cumsum(length)]),
        np.array([CLASSES.index(one) for one in emotions]),
        np.array([speakers.index(one) for one in names]),
        np.concatenate([np.full(len(columns["length"]), k) for k, columns in enumerate(parts.values())]),
        np.concatenate([columns["strong"].astype(np.bool_) for columns in parts.values()]),
        speakers,
    )


def affect_of(out: Tensor) -> Tensor:
    """Return (n, 2) valence and arousal of the network's (n, 10).

    Half is what it says outright, which varies too much, and half the expected place of the classes, which varies too
    little.
    """
    p = out[:, : len(CLASSES)].softmax(1)
    outright = out[:, len(CLASSES) : len(CLASSES) + AFFECT].tanh()
    return (outright + p @ out.new_tensor(POSITIONS.tolist())) / 2
