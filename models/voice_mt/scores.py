"""Predictions of voice networks for recordings that they were not trained on, and the figures reported of them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.face_mt.scores import concordance, macro_f1, softmax
from models.voice_mt.data import CALM, NEUTRAL, Floats, Recordings, affect_of
from models.voice_mt.network import CLASSES, VoiceNetwork
from models.voice_mt.windows import VoiceInputs

SEVEN = len(CLASSES) - 1
SIX = tuple(CLASSES.index(c) for c in ("neutral", "anger", "fear", "happiness", "sadness", "surprise"))
HEARD = 30.0  # s of speech in the baseline, from which a speaker counts as heard before


@dataclass(frozen=True)
class Answers:
    """Hold, of n windows, the recording, `logits` (n, 8), `affect` (n, 2), seconds of speech in the baseline."""

    row: NDArray[np.int64]
    logits: Floats
    affect: Floats
    seconds: Floats


@torch.no_grad()
def answers(network: VoiceNetwork, asked: VoiceInputs) -> Answers:
    """Return the predictions of `network` for the windows `asked`."""
    out = network.eval()(torch.from_numpy(asked.inputs)).double()
    return Answers(asked.row, out[:, : len(CLASSES)].numpy(), affect_of(out).numpy(), asked.seconds.astype(np.float64))


def together(parts: list[Answers]) -> Answers:
    """Return the answers of several networks as one."""
    return Answers(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("row", "logits", "affect", "seconds")))


def served(probabilities: Floats) -> Floats:
    """Return (n, 7), the expressions with calm counted as neutral, of (n, 8)."""
    out = np.delete(probabilities, CALM, axis=1)
    out[:, NEUTRAL] += probabilities[:, CALM]
    return out


def seven(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return classes with calm counted as neutral."""
    return np.where(labels == CALM, NEUTRAL, labels)


def mean_recall(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: tuple[int, ...]) -> float:
    """Return the mean recall of the classes that there are."""
    return float(np.mean([(guess[truth == c] == c).mean() for c in classes if (truth == c).any()]))


def guesses(said: Answers, classes: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the likeliest of some of the seven, calm counted as neutral."""
    p = served(softmax(said.logits))[:, list(classes)]
    return np.asarray(np.array(classes)[p.argmax(1)], np.int64)


def figures(said: Answers, data: Recordings) -> dict[str, float]:
    """Return accuracy over eight and seven classes and concordance with the classes' places."""
    truth, place = data.label[said.row], data.affect()[said.row]
    basic, guess = seven(truth), guesses(said, tuple(range(SEVEN)))
    present = tuple(int(c) for c in np.unique(basic))
    return {
        "windows": float(len(truth)),
        "accuracy8": float((said.logits.argmax(1) == truth).mean()),
        "accuracy7": float((guess == basic).mean()),
        "recall": mean_recall(basic, guess, present),
        "f1": macro_f1(basic, guess, SEVEN),
        "ccc_valence": concordance(said.affect[:, 0], place[:, 0]),
        "ccc_arousal": concordance(said.affect[:, 1], place[:, 1]),
    }
