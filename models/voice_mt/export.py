"""From the networks of a voice run to the ONNX file that is served: population, perceptrons, calibration, one graph.

Input `voice` (N, 4, F) (`models/voice_mt/network.py`); outputs `expression` (N, 7) probabilities (calm counted as
neutral), `valence_arousal` (N, 2), `std` (N, 2). It is calibrated on the folds' predictions for speakers whom they were
not trained on, and its weight in the fusion is the score of the recipe on a corpus that it was not trained on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.face_mt import onnx_file
from models.face_mt.calibration import fit_std_scale, fit_temperature
from models.face_mt.scores import concordance, macro_f1, softmax
from models.labels import EXPRESSIONS
from models.voice_mt import train
from models.voice_mt.baseline import ROWS
from models.voice_mt.data import CALM, CORPORA, FOLDS, POSITIONS, UNHEARD, Floats, Recordings, affect_of
from models.voice_mt.functionals import NAMES
from models.voice_mt.network import CLASSES, VoiceNetwork
from models.voice_mt.scores import SEVEN, SIX, Answers, answers, figures, guesses, seven, together
from models.voice_mt.windows import Windows, in_order

VERSION = "voice-mt-2"  # named in every event; a new one with each change of the weights that are shipped
OUTPUTS = ("expression", "valence_arousal", "std")
SEED = 5  # of the order in which a speaker's recordings are heard


@dataclass(frozen=True)
class Fit:
    """Hold what calibrates a network.

    `temperature` divides the logits, `std_scale` multiplies the deviations; `validation` is concordance of valence and
    of arousal and macro F1 over six classes, which weigh the voice in the fusion.
    """

    temperature: float
    std_scale: tuple[float, float]
    validation: tuple[float, float, float]


def spread(probabilities: Floats) -> Floats:
    """Return (n, 2) deviations of the classes' places under probabilities (n, 8)."""
    mean = probabilities @ POSITIONS
    return np.asarray(np.sqrt(np.maximum(probabilities @ POSITIONS**2 - mean**2, 0) + 1e-4), np.float64)


def unheard_speakers(run: Path, data: Recordings, found: Windows, *, known: bool = True) -> list[Answers]:
    """Return what each fold says of the speakers that it never heard, in the order in which they speak."""
    return [
        answers(train.load(run / f"fold{k}.pt"), in_order(data, found, data.fold() == k, SEED, known=known))
        for k in range(FOLDS)
    ]


def unheard_corpus(run: Path, data: Recordings, found: Windows, *, known: bool = True) -> dict[str, Answers]:
    """Return what the network from each corpus says of the other, by the name of the corpus that was never heard."""
    out = {}
    for source, other in (CORPORA, CORPORA[::-1]):
        among = (data.corpus == CORPORA.index(other)) & np.isin(seven(data.label), SIX)
        out[other] = answers(train.load(run / f"from-{source}.pt"), in_order(data, found, among, SEED, known=known))
    return out


def calibrate(heard: Answers, data: Recordings) -> tuple[float, tuple[float, float]]:
    """Return temperature and scales of the deviations, from answers on speakers whom nobody had heard."""
    truth = data.label[heard.row]
    temperature = fit_temperature(heard.logits, truth, np.zeros(len(CLASSES)))
    std = spread(softmax(heard.logits / temperature))
    return temperature, fit_std_scale(heard.affect, std, data.affect()[heard.row])


def worth(unheard: dict[str, Answers], data: Recordings) -> tuple[float, float, float]:
    """Return concordance of valence and of arousal, and macro F1, each the mean over the corpora never heard."""
    rows = []
    for said in unheard.values():
        place, truth = data.affect()[said.row], seven(data.label[said.row])
        f1 = macro_f1(truth, guesses(said, SIX), SEVEN) * SEVEN / len(SIX)
        rows.append((*(concordance(said.affect[:, k], place[:, k]) for k in (0, 1)), f1))
    valence, arousal, expression = (float(v) for v in np.mean(rows, 0))
    return valence, arousal, expression


class Served(nn.Module):
    """Compute what the service calls: functionals and baseline in, calibrated answers out."""

    places: Tensor
    std_scale: Tensor

    def __init__(self, network: VoiceNetwork, fit: Fit) -> None:
        super().__init__()
        self.network = network
        self.temperature = fit.temperature
        self.register_buffer("places", torch.tensor(POSITIONS, dtype=torch.float32))
        self.register_buffer("std_scale", torch.tensor(fit.std_scale))

    def forward(self, voice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return expressions (N, 7), valence and arousal (N, 2) and their deviations (N, 2)."""
        out = self.network(voice)
        p = torch.softmax(out[:, : len(CLASSES)] / self.temperature, 1)
        mean = p @ self.places
        std = ((p @ self.places**2 - mean**2).clamp_min(0) + 1e-4).sqrt() * self.std_scale
        return torch.cat([p[:, :1] + p[:, CALM:], p[:, 1:CALM]], 1), affect_of(out), std


def export(network: VoiceNetwork, fit: Fit, version: str, facts: dict[str, Any], out: Path) -> None:
    """Write the ONNX file to `out`, whole or not at all, with `facts` in its metadata."""
    facts = facts | {
        "version": version,
        "expressions": list(EXPRESSIONS),
        "functionals": list(NAMES),
        "temperature": round(fit.temperature, 6),
        "std_scale": [round(v, 6) for v in fit.std_scale],
        "validation": [round(v, 4) for v in fit.validation],
    }
    onnx_file.write(Served(network, fit), {"voice": torch.zeros(2, ROWS, len(NAMES))}, OUTPUTS, facts, out)


def release(run: Path, data: Recordings, found: Windows, out: Path) -> Fit:
    """Export the shipped network of the folder `run`. Raises FileNotFoundError where training is not over."""
    temperature, scale = calibrate(together(unheard_speakers(run, data, found)), data)
    fit = Fit(temperature, scale, worth(unheard_corpus(run, data, found), data))
    export(train.load(run / "shipped.pt"), fit, VERSION, {"unheard_speakers": list(UNHEARD)}, out)
    return fit


def main(data: Path, out: Path) -> list[dict[str, Any]]:
    """Train all networks on the corpora in `data` into `out`, then write the file that is served.

    Return rows of figures: each fold on the speakers, and each corpus's network on the other corpus, never heard.
    """
    spoken, found = train.main(data, out)
    release(out, spoken, found, out / "voice-mt.onnx")
    rows: list[dict[str, Any]] = [
        {"never heard": f"speakers of fold {k}", **figures(said, spoken)}
        for k, said in enumerate(unheard_speakers(out, spoken, found))
    ]
    unheard = unheard_corpus(out, spoken, found)
    return rows + [{"never heard": f"corpus {name}", **figures(said, spoken)} for name, said in unheard.items()]
