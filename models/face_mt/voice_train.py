"""`affectstream train voice-mt`: the voice network on RAVDESS, split by actor.

RAVDESS (Livingstone & Russo 2018) is CC BY-NC-SA 4.0: so are the weights. Figures are for actors that were never heard
in training; with 24 actors, four folds of six give one prediction for each clip (`cross_validate`), and the weights
that are shipped are those of one fold.
"""

import copy
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from models.face_mt.data import read
from models.face_mt.scores import macro_f1, softmax
from models.face_mt.voice import CHANNELS, CLASSES, COLUMNS, VoiceNetwork, VoiceView

log = logging.getLogger(__name__)

# RAVDESS' emotion field 1..8 -> CLASSES.
_EMOTION = np.array([CLASSES.index(c) for c in (
    "neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise",
)])  # fmt: skip
FOLDS = 4
NO_SPEECH = CLASSES.index("no_speech")
SILENCE_DB = -100.0
HOP_COLUMNS = 50  # 0.5 s between the windows that are heard of a clip
LOUD_DB = 30.0  # a column this far below the loudest is a pause


@dataclass(frozen=True)
class Clips:
    """RAVDESS as prepared: `mel` (n, 64, columns) dB float16, class, actor."""

    mel: NDArray[np.float16]
    length: NDArray[np.int64]
    label: NDArray[np.int64]
    actor: NDArray[np.int64]
    strong: NDArray[np.bool_]


@dataclass(frozen=True)
class Options:
    """A run on the actors that are not in `held_out`."""

    folder: str
    epochs: int = 60
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    average: float = 0.995
    mixup: float = 0.3
    seed: int = 1
    threads: int = 0


def clips(folder: Path) -> Clips:
    """The prepared shards of RAVDESS."""
    columns = read(folder)
    return Clips(
        columns["mel"].astype(np.float16),
        columns["length"].astype(np.int64),
        _EMOTION[columns["emotion"].astype(np.int64) - 1],
        columns["actor"].astype(np.int64),
        columns["intensity"].astype(np.int64) == 2,
    )


def fold_actors(fold: int) -> NDArray[np.int64]:
    """The six actors held out in `fold`: three women and three men."""
    return np.array([a for a in range(1, 25) if ((a - 1) // 2) % FOLDS == fold])


def _spoken(mel: NDArray[np.float16]) -> tuple[int, int]:
    """First and last column that is loud."""
    level = mel.astype(np.float32).max(0)
    loud = np.flatnonzero(level > level.max() - LOUD_DB)
    return int(loud[0]), int(loud[-1]) + 1


def _window(mel: NDArray[np.float16], end: int) -> NDArray[np.float32]:
    """(64, 301) that ends at column `end`; before the clip there is silence."""
    out = np.full((mel.shape[0], COLUMNS), SILENCE_DB, np.float32)
    first = max(0, end - COLUMNS)
    out[:, COLUMNS - (end - first) :] = mel[:, first:end]
    return out


def _warp(x: Tensor, generator: Generator) -> Tensor:
    """Other throats and other paces: a shift and stretch of the mel axis, a stretch of time."""
    n = x.shape[0]
    r = torch.randn(n, 3, generator=generator).clamp(-2, 2)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = 1 + 0.12 * r[:, 0]
    theta[:, 0, 2] = 1 - theta[:, 0, 0]  # the newest column stays the newest
    theta[:, 1, 1] = 1 + 0.04 * r[:, 1]
    theta[:, 1, 2] = 0.035 * r[:, 2]
    grid = F.affine_grid(theta, [n, 1, x.shape[1], x.shape[2]], align_corners=False)
    warped = F.grid_sample(x[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped[:, 0]


def augment(x: Tensor, generator: Generator) -> Tensor:
    """`x`: (n, 64, T) dB -> other speakers, rooms, noises, lines and gains."""
    n, channels, columns = x.shape
    x = _warp(x, generator)

    def draw(share: float) -> Tensor:
        return torch.rand(n, 1, 1, generator=generator) < share

    power = 10 ** (x / 10)
    # A room: each column leaves an echo that fades with a reverberation time of 0.2 to 0.8 s.
    fade = 10 ** (-0.6 / (20 + 60 * torch.rand(n, 1, 1, generator=generator))) ** torch.arange(columns)
    echo = 0.1 * fade * torch.cumsum(power / fade, 2)
    power = torch.where(draw(0.3), power + echo * torch.rand(n, 1, 1, generator=generator), power)
    # Noise of any colour, 5 to 40 dB under the loudest columns, and tilt and ripple of the line.
    loud = power.sum(1).amax(1)[:, None, None] / channels
    axis = torch.linspace(-1, 1, channels)[None, :, None]
    colour = 12 * torch.randn(n, 1, 1, generator=generator) * axis + 3 * torch.randn(
        n, channels, 1, generator=generator
    )
    snr = 5 + 35 * torch.rand(n, 1, 1, generator=generator)
    hiss = -torch.log(torch.rand(power.shape, generator=generator).clamp_min(1e-3))  # power of noise is exponential
    power = torch.where(draw(0.6), power + loud * 10 ** ((colour - snr) / 10) * hiss, power)
    x = 10 * torch.log10(power.clamp_min(1e-10))
    ripple = 5 * torch.randn(n, 1, 1, generator=generator) * axis + 2 * torch.randn(n, channels, 1, generator=generator)
    x = torch.where(draw(0.5), x + ripple, x)
    # A telephone: nothing above 3.4 to 7 kHz.
    index = torch.arange(channels)[None, :, None]
    cut = torch.randint(30, CHANNELS, (n, 1, 1), generator=generator)
    x = torch.where(draw(0.2) & (index >= cut), torch.full_like(x, SILENCE_DB), x)
    # Masks over time and channels (Park et al. 2019).
    floor = x.amin((1, 2), keepdim=True)
    for axis_size, shape, widest in ((columns, (1, 1, columns), 40), (channels, (1, channels, 1), 8)):
        start = torch.randint(0, axis_size, (n, 1, 1), generator=generator)
        width = torch.randint(0, widest, (n, 1, 1), generator=generator)
        position = torch.arange(axis_size).view(shape)
        x = torch.where((position >= start) & (position < start + width) & draw(0.7), floor, x)
    return x


def _silences(n: int, generator: Generator) -> Tensor:
    """(n, 64, T) dB of noise without a voice: steady or slowly swelling, of any colour."""
    axis = torch.linspace(-1, 1, 64)[None, :, None]
    colour = 15 * torch.randn(n, 1, 1, generator=generator) * axis + 4 * torch.randn(n, 64, 1, generator=generator)
    swell = F.interpolate(torch.randn(n, 1, 6, generator=generator), size=COLUMNS, mode="linear") * 4
    grain = 4 * torch.randn(n, 64, COLUMNS, generator=generator)
    return -50 + 15 * torch.randn(n, 1, 1, generator=generator) + colour + swell + grain


def train(options: Options, held_out: NDArray[np.int64]) -> tuple[VoiceNetwork, dict[str, float]]:
    """The averaged network after the last epoch, and its figures on the held-out actors (never used to choose)."""
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    data = clips(Path(options.folder))
    rows = np.flatnonzero(~np.isin(data.actor, held_out))
    spoken = [_spoken(data.mel[i, :, : data.length[i]]) for i in rows]
    view, network = VoiceView(), VoiceNetwork()
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    per_epoch = len(rows) // options.batch
    total = per_epoch * options.epochs
    rng = np.random.default_rng(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    silent = options.batch // 16
    step = 0
    for _ in tqdm(range(options.epochs), desc="voice", leave=False):
        network.train()
        order = rng.permutation(len(rows))[: per_epoch * options.batch].reshape(per_epoch, options.batch)
        for batch in order:
            windows = []
            for j in batch:
                first, last = spoken[j]
                earliest = min(first + 100, last)
                end = int(rng.integers(earliest, min(last + 60, data.length[rows[j]]) + 1))
                windows.append(_window(data.mel[rows[j]], end))
            target = F.one_hot(torch.from_numpy(data.label[rows[batch]]), len(CLASSES)).float()
            target = 0.92 * target + 0.08 / len(CLASSES)
            x = augment(torch.from_numpy(np.stack(windows)), generator)
            x, y = view(torch.cat([x, _silences(silent, generator)])), target
            nothing = F.one_hot(torch.full((silent,), NO_SPEECH), len(CLASSES)).float()
            y = torch.cat([target, nothing])
            if options.mixup:
                share = float(rng.beta(options.mixup, options.mixup))
                other = torch.randperm(len(x), generator=generator)
                x, y = share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
            for group in optimizer.param_groups:
                warm = min(1.0, (step + 1) / (0.1 * total))
                group["lr"] = options.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / total))
            loss = -(y * F.log_softmax(network(x), 1)).sum(1).mean()
            if not bool(torch.isfinite(loss)):
                raise FloatingPointError(f"The loss became {float(loss)} at step {step}.")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                decay = min(options.average, (1 + step) / (10 + step))
                for a, b in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                    a.lerp_(b, 1 - decay) if a.dtype.is_floating_point else a.copy_(b)
            step += 1
    probabilities = hear(average, data, np.flatnonzero(np.isin(data.actor, held_out)))
    return average, figures(probabilities, data, np.flatnonzero(np.isin(data.actor, held_out)))


@torch.no_grad()
def hear(network: nn.Module, data: Clips, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, 9) of whole clips: the mean over trailing windows every half second while there is speech."""
    network.eval()
    view = VoiceView()
    out = []
    for i in rows:
        first, last = _spoken(data.mel[i, :, : data.length[i]])
        ends = sorted({*range(min(first + 150, last), last, HOP_COLUMNS), last})
        x = torch.from_numpy(np.stack([_window(data.mel[i], end) for end in ends]))
        out.append(softmax(network(view(x)).double().numpy()).mean(0))
    return np.stack(out)


def figures(p: NDArray[np.float64], data: Clips, rows: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy over RAVDESS' eight classes, and over the seven with calm counted as neutral."""
    truth = data.label[rows]
    eight = p[:, :8].argmax(1)
    calm = CLASSES.index("calm")
    merged = np.concatenate([p[:, :1] + p[:, calm : calm + 1], p[:, 1:7]], 1)
    seven = np.where(truth == calm, 0, truth)
    result: dict[str, Any] = {
        "accuracy": float((eight == truth).mean()),
        "f1": macro_f1(truth, eight, 8),
        "accuracy7": float((merged.argmax(1) == seven).mean()),
        "strong": float((eight == truth)[data.strong[rows]].mean()),
    }
    return result
