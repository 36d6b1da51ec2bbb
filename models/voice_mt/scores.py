"""What a voice network says of whole clips, and the figures that are reported of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.face_mt.scores import concordance, macro_f1, softmax
from models.voice_mt.data import CALM, NEUTRAL, SPOKEN, Clips, Floats, affect_of, window
from models.voice_mt.network import CLASSES, VoiceNetwork

SEVEN = SPOKEN - 1
_BATCH = 64


@dataclass(frozen=True)
class Heard:
    """Of n clips: `rows` in the data, `logits` (n, 9), `affect` (n, 2) valence and arousal."""

    rows: NDArray[np.int64]
    logits: Floats
    affect: Floats

    def save(self, path: Path) -> None:
        """As .npz without pickles."""
        np.savez(path, rows=self.rows, logits=self.logits, affect=self.affect)

    @staticmethod
    def load(path: Path) -> "Heard":
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return Heard(file["rows"], file["logits"], file["affect"])


def sentence(data: Clips, row: int | np.integer[Any]) -> NDArray[np.float32]:
    """(64, 301): the window in which the last word has just ended, which holds the whole sentence."""
    return window(data.mel[row], int(data.spoken[row, 1]))


@torch.no_grad()
def hear(network: VoiceNetwork, data: Clips, rows: NDArray[np.int64]) -> Heard:
    """Reads each clip once, at the end of its sentence."""
    network.eval()
    parts = []
    for start in range(0, len(rows), _BATCH):
        mel = np.stack([sentence(data, row) for row in rows[start : start + _BATCH]])
        parts.append(network(torch.from_numpy(mel)).double())
    out = torch.cat(parts)
    return Heard(rows, out[:, : len(CLASSES)].numpy(), affect_of(out).numpy())


def served(probabilities: Floats) -> Floats:
    """(n, 9) -> (n, 8): the seven, calm counted as neutral, and no_speech."""
    out = np.delete(probabilities, CALM, axis=1)
    out[:, NEUTRAL] += probabilities[:, CALM]
    return out


def seven(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes with calm counted as neutral."""
    return np.where(labels == CALM, NEUTRAL, labels)


def figures(heard: Heard, data: Clips) -> dict[str, float]:
    """Accuracy over RAVDESS' eight classes and over the seven, and concordance with the classes' places."""
    truth, p = data.label[heard.rows], softmax(heard.logits)
    eight = p[:, :SPOKEN].argmax(1)
    basic = served(p)[:, :SEVEN].argmax(1)
    place = data.affect()[heard.rows]
    return {
        "accuracy": float((eight == truth).mean()),
        "f1": macro_f1(truth, eight, SPOKEN),
        "accuracy7": float((basic == seven(truth)).mean()),
        "f1_7": macro_f1(seven(truth), basic, SEVEN),
        "strong": float((eight == truth)[data.strong[heard.rows]].mean()),
        "ccc_valence": concordance(heard.affect[:, 0], place[:, 0]),
        "ccc_arousal": concordance(heard.affect[:, 1], place[:, 1]),
        "taken_for_no_speech": float((p.argmax(1) == CLASSES.index("no_speech")).mean()),
    }
