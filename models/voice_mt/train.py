"""`affectstream train voice-mt`: the voice network on RAVDESS, split by actor.

RAVDESS is CC BY-NC-SA 4.0, and so are the weights. Figures are for actors that were never heard: with 24 actors, four
folds of six give one prediction for each clip. The weights that ship are those of fold 0, whose six actors can so be
used to check the very file. Nothing is ever chosen by a held-out actor: the last epoch's average counts. A killed run
goes on from its last epoch.
"""

import copy
import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F
from tqdm import tqdm

from models.errors import ModelError
from models.voice_mt.augment import augment
from models.voice_mt.data import AFTER, FOLDS, NEUTRAL, NO_SPEECH, SETTLED, Clips, clips, fold_actors, window
from models.voice_mt.network import AFFECT, CLASSES, VoiceNetwork
from models.voice_mt.scores import figures, hear
from models.voice_mt.sounds import lessons

LESSONS = 40  # clips of each kind of sound that is no voice
WHOLE = 0.75  # share of the windows that hold the sentence whole; the others end in the midst of it
SMOOTHING = 0.1  # of the labels
LOOK_WEIGHT, AFFECT_WEIGHT, SIDE_WEIGHT = 0.3, 0.3, 0.2  # in the loss: each look alone; beside the classes


@dataclass(frozen=True)
class Options:
    """A run; a run is only resumed with the same options."""

    folder: str  # prepared RAVDESS
    held_out: tuple[int, ...]  # actors
    epochs: int = 40
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    average: float = 0.98  # decay of the weight average, per step
    lessons: int = LESSONS
    seed: int = 1


def _batches(data: Clips, rows: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(steps, size) rows; neutral, of which RAVDESS has half as many as of the others, counts double."""
    twice = np.concatenate([rows, rows[data.label[rows] == NEUTRAL]])
    steps = len(twice) // size
    return rng.permutation(twice)[: steps * size].reshape(steps, size)


def _windows(data: Clips, rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    out = []
    for row in rows:
        first, last = (int(v) for v in data.spoken[row])
        latest = min(last + AFTER, int(data.length[row]))
        begin, end = (last, latest) if rng.random() < WHOLE else (min(first + SETTLED, last), last)
        out.append(window(data.mel[row], int(rng.integers(begin, end + 1))))
    return torch.from_numpy(np.stack(out))


def _room_tone(data: Clips, rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    """What is heard before the first word."""
    return torch.from_numpy(
        np.stack([window(data.mel[r], max(20, int(data.spoken[r, 0]) - 15)) for r in rng.choice(rows, 2)])
    )


def _loss(answers: Tensor, target: Tensor, affect: Tensor, side: Tensor, voiced: Tensor) -> Tensor:
    """`answers` (2, n, 13); `target` (n, 9); `affect` and `side` (n, 2), of the `voiced` rows."""
    total = torch.zeros(())
    for weight, out in ((1.0, answers.sum(0)), *((LOOK_WEIGHT, one) for one in answers)):
        classes, place, extra = out.split([len(CLASSES), AFFECT, 2], 1)
        loss = -(target * F.log_softmax(classes, 1)).sum(1).mean()
        error = (torch.tanh(place[voiced]) - affect[voiced]).square()
        varied = affect[voiced].var(0) + torch.tanh(place[voiced]).var(0)
        loss = loss + AFFECT_WEIGHT * (error.mean(0) / varied).sum()  # about 1 - CCC
        loss = loss + SIDE_WEIGHT * F.binary_cross_entropy_with_logits(extra[voiced], side[voiced])
        total = total + weight * loss
    return total


class _Run:
    """Everything that a checkpoint holds."""

    def __init__(self, options: Options) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.network = VoiceNetwork()
        self.average = copy.deepcopy(self.network)
        parts = [[p for p in self.network.parameters() if (p.ndim > 1) == many] for many in (True, False)]
        self.optimizer = torch.optim.AdamW(
            [{"params": parts[0], "weight_decay": options.weight_decay}, {"params": parts[1], "weight_decay": 0.0}]
        )
        self.epoch = 0

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        state = {
            "options": asdict(self.options), "epoch": self.epoch, "network": self.network.state_dict(),
            "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        aside = path.with_suffix(".part")
        torch.save(state, aside)
        os.replace(aside, path)

    def resume(self, path: Path) -> None:
        """Goes on from `path` if it is there. Raises `ModelError` if it is of other options."""
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["options"] != asdict(self.options):
            raise ModelError(f"{path} is of a run with other options; name another folder with --out.")
        self.epoch = int(state["epoch"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def step(self, mel: Tensor, *targets: Tensor, progress: float) -> None:
        """One step of the optimizer. `progress`: 0..1 of the whole run. Raises `ModelError` for a loss that is not a
        number.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = (
                self.options.learning_rate * min(1.0, progress / 0.1) * 0.5 * (1 + math.cos(math.pi * progress))
            )
        with torch.autocast("cpu", torch.bfloat16):
            answers = self.network.answers(mel)
        loss = _loss(answers, *targets)
        if not bool(torch.isfinite(loss)):
            raise ModelError(f"The loss became {float(loss)} in epoch {self.epoch + 1}; the last good one is kept.")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._remember()

    @torch.no_grad()
    def _remember(self) -> None:
        for a, b in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - self.options.average)
            else:
                a.copy_(b)


def train(options: Options, data: Clips, sounds: NDArray[np.float16], checkpoint: Path) -> VoiceNetwork:
    """The averaged network after the last epoch; `checkpoint` is written after each. `sounds`: (m, 64, 301) dB without
    a voice.
    """
    run = _Run(options)
    run.resume(checkpoint)
    rows = np.flatnonzero(~np.isin(data.actor, options.held_out))
    noise = torch.from_numpy(sounds)
    silent = max(2, options.batch // 10)
    affect = torch.from_numpy(data.affect()).float()
    side = torch.from_numpy(np.stack([data.strong, data.actor % 2 == 0], 1)).float()
    for epoch in tqdm(range(run.epoch, options.epochs), desc=checkpoint.stem, leave=False):
        rng = np.random.default_rng([options.seed, epoch])
        generator = Generator().manual_seed(options.seed * 10_000 + epoch)
        torch.manual_seed(options.seed * 10_000 + epoch)  # dropout
        run.network.train()
        batches = _batches(data, rows, options.batch, rng)
        for i, batch in enumerate(batches):
            other = noise[torch.randint(len(noise), (silent,), generator=generator)].float()
            others = torch.cat([other, _room_tone(data, rows, rng)])
            mel = augment(torch.cat([_windows(data, batch, rng), others]), noise, generator)
            label = torch.cat([torch.from_numpy(data.label[batch]), torch.full((len(others),), NO_SPEECH)])
            target = F.one_hot(label, len(CLASSES)) * (1 - SMOOTHING) + SMOOTHING / len(CLASSES)
            voiced = label != NO_SPEECH
            nowhere = torch.zeros(len(others), 2)
            run.step(
                mel, target, torch.cat([affect[batch], nowhere]), torch.cat([side[batch], nowhere]), voiced,
                progress=(epoch + (i + 1) / len(batches)) / options.epochs,
            )  # fmt: skip
        run.epoch = epoch + 1
        run.save(checkpoint)
    return run.average.eval()


def load(checkpoint: Path) -> tuple[VoiceNetwork, Options]:
    """The averaged network of a checkpoint, and how it was trained. Raises `ModelError` if the run is not over."""
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    options = Options(**{**state["options"], "held_out": tuple(state["options"]["held_out"])})
    if state["epoch"] < options.epochs:
        raise ModelError(f"{checkpoint} stopped after {state['epoch']} of {options.epochs} epochs; train again.")
    network = VoiceNetwork()
    network.load_state_dict(state["average"])
    return network.eval(), options


def main(
    data: Path, out: Path, *, folds: tuple[int, ...] = tuple(range(FOLDS)), **changes: Any
) -> list[dict[str, float]]:
    """Trains the folds on `data`/ravdess into `out`/fold{n}.pt, with what each says of its held-out clips in
    `out`/fold{n}.npz. One row of figures for each fold. Raises `ModelError` or FileNotFoundError.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # its tensors are too small for more to pay
    spoken = clips(data / "ravdess")
    rows = []
    sounds: NDArray[np.float16] | None = None
    for fold in folds:
        held = tuple(int(a) for a in fold_actors(fold))
        options = replace(Options(str(data / "ravdess"), held), **changes)
        sounds = lessons(options.lessons, options.seed) if sounds is None else sounds
        network = train(options, spoken, sounds, out / f"fold{fold}.pt")
        heard = hear(network, spoken, np.flatnonzero(np.isin(spoken.actor, held)))
        heard.save(out / f"fold{fold}.npz")
        rows.append({"fold": fold, **figures(heard, spoken)})
    return rows
