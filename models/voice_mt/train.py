"""`affectstream train voice-mt`: the voice network on RAVDESS and nEMO.

Both are CC BY-NC-SA 4.0, and so are the weights. Figures are for speakers that were never heard (four folds over the
speakers of both corpora) and for a corpus that was never heard (each of the two from the other). The network that ships
learns from all speakers but `UNHEARD`, by the same recipe; no choice depends on the results for held-out speakers.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F
from tqdm import tqdm

from models.errors import ModelError
from models.files import written_whole
from models.voice_mt.data import CORPORA, FOLDS, UNHEARD, Recordings, recordings
from models.voice_mt.network import CLASSES, Population, VoiceNetwork
from models.voice_mt.windows import Windows, drawn, windows

SMOOTHING = 0.1  # of the labels
MIXUP = 0.3  # of its beta distribution
AFFECT_WEIGHT = 0.3  # in the loss, beside the classes
CORPUS_WEIGHT = {"ravdess": 2.0, "nemo": 1.0}  # RAVDESS has most of the speakers


@dataclass(frozen=True)
class Options:
    """Hold the recipe of one network."""

    epochs: int = 16
    batch: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    seed: int = 1


def weights_of(data: Recordings, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how often each row is drawn: corpora count by their weights, and the classes of each the same."""
    group = data.corpus[rows] * len(CLASSES) + data.label[rows]
    count = np.bincount(group, minlength=len(CORPORA) * len(CLASSES)).astype(np.float64)
    classes = (count.reshape(len(CORPORA), -1) > 0).sum(1)
    corpora = np.array([CORPUS_WEIGHT[name] for name in CORPORA])
    weight = corpora[data.corpus[rows]] / (count[group] * classes[data.corpus[rows]])
    return np.asarray(weight / weight.sum(), np.float64)


def _loss(answers: Tensor, target: Tensor, affect: Tensor) -> Tensor:
    """Return the sum over members of cross-entropy and about 1 - CCC; `target` (n, 8), `affect` (n, 2)."""
    classes, place = answers[..., : len(CLASSES)], answers[..., len(CLASSES) :]
    loss = -(target * F.log_softmax(classes, 2)).sum(2).mean(1)
    place = place.tanh()
    error = (place - affect).square().mean(1) / (affect.var(0) + place.var(1))
    total: Tensor = (loss + AFFECT_WEIGHT * error.sum(1)).sum()
    return total


def fit(data: Recordings, found: Windows, among: NDArray[np.bool_], options: Options) -> VoiceNetwork:
    """Return a network that learned from the recordings `among`. Raises `ModelError` for a loss that is no number."""
    torch.manual_seed(options.seed)
    generator, rng = Generator().manual_seed(options.seed), np.random.default_rng(options.seed)
    plain = among & np.isfinite(found.rows[:, 0]).all((0, 2))
    population = Population.of(
        np.concatenate(found.rows[:, 0][:, plain]), np.tile(data.speaker[plain], len(found.rows))
    )
    network = VoiceNetwork(population).train()
    parts = [[p for n, p in network.named_parameters() if n.endswith("bias") == bias] for bias in (False, True)]
    optimizer = torch.optim.AdamW(
        [{"params": parts[0], "weight_decay": options.weight_decay}, {"params": parts[1], "weight_decay": 0.0}]
    )
    affect = torch.from_numpy(data.affect()).float()
    schedule: torch.optim.lr_scheduler.OneCycleLR | None = None
    for _ in range(options.epochs):
        asked = drawn(data, found, among, rng)
        seen = network.seen(torch.from_numpy(asked.inputs))
        weight = torch.from_numpy(weights_of(data, asked.row))
        steps = len(seen) // options.batch
        if schedule is None:
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, options.learning_rate, total_steps=options.epochs * (steps + 8)
            )
        for _ in range(steps):
            at = torch.multinomial(weight, options.batch, True, generator=generator)
            row = torch.from_numpy(asked.row)[at]
            target = F.one_hot(torch.from_numpy(data.label)[row], len(CLASSES)).float()
            share = torch.from_numpy(rng.beta(MIXUP, MIXUP, (options.batch, 1))).float()
            other = torch.randperm(options.batch, generator=generator)
            x, y, place = (v * share + v[other] * (1 - share) for v in (seen[at], target, affect[row]))
            loss = _loss(network.answers(x), y * (1 - SMOOTHING) + SMOOTHING / len(CLASSES), place)
            if not bool(torch.isfinite(loss)):
                raise ModelError("The loss is not a number any more; look for damaged recordings.")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def runs(data: Recordings) -> dict[str, NDArray[np.bool_]]:
    """Return the recordings that each network learns from: the one that ships, the folds, and each corpus alone."""
    unheard = [data.speakers.index(name) for name in UNHEARD if name in data.speakers]
    found = {"shipped": ~np.isin(data.speaker, unheard)}
    found |= {f"fold{k}": data.fold() != k for k in range(FOLDS)}
    return found | {f"from-{name}": data.corpus == k for k, name in enumerate(CORPORA)}


def main(data: Path, out: Path, options: Options | None = None) -> tuple[Recordings, Windows]:
    """Train all networks of `runs` on the prepared corpora in `data`, into `out`/NAME.pt; those that are there stay.

    Raises `ModelError` or FileNotFoundError.
    """
    options = options or Options()
    torch.set_num_threads(1)  # its tensors are too small for more to pay
    spoken = recordings(data)
    cache = out / "windows.npz"
    if not cache.is_file():
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        windows(data, len(spoken)).save(cache)
    found = Windows.load(cache)
    if found.rows.shape[2] != len(spoken):
        raise ModelError(f"{cache} is of other recordings; name another folder with --out.")
    for name, among in tqdm(runs(spoken).items(), desc="networks", leave=False):
        path = out / f"{name}.pt"
        if not path.is_file():
            network = fit(spoken, found, among, options)
            with written_whole(path) as aside:
                torch.save({"network": network.state_dict()}, aside)
    return spoken, found


def load(checkpoint: Path) -> VoiceNetwork:
    """Return the network of a checkpoint. Raises FileNotFoundError if it was not trained yet."""
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint} is missing. Run `affectstream train voice-mt` to the end first.")
    network = VoiceNetwork()
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["network"])
    return network.eval()
