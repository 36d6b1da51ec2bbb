"""`affectstream train face-mt`: the default face network out of prepared folders, repeatably and resumably.

One cycle of SGD over FER+ and the labelled pictures mixed, small pictures first and full size for the last part (Tan &
Le 2021, progressive learning), an exponential average of the weights as the result. A killed run goes on from its last
epoch; a loss that is not a number ends the run and keeps the last good epoch.
"""

import copy
import json
import logging
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.errors import ModelError
from models.face_mt import action_units
from models.face_mt.data import TEST, TRAIN, VALIDATION, Faces, ferplus, labelled, training_prior
from models.face_mt.export import release
from models.face_mt.network import INPUT, Config, FaceNetwork
from models.face_mt.objective import TASKS, WEIGHTS, Batches, Objective
from models.face_mt.replicas import Replicas
from models.face_mt.scores import predict, scores

log = logging.getLogger(__name__)

PRIOR_FLOOR = 2e-3  # a class rarer than this is not pushed further


@dataclass(frozen=True)
class Options:
    """What a run is made of; written beside its checkpoints. A run is only resumed with the same options."""

    ferplus: str  # prepared folders
    faces: str
    out: str
    epochs: int = 40
    batch: int = 128
    learning_rate: float = 0.1  # peak
    weight_decay: float = 5e-4
    average: float = 0.998  # decay of the weight average, per step
    small_size: int = 48  # pixels of the picture in the first part ...
    small_share: float = 0.5  # ... of the epochs
    widths: tuple[int, ...] = (32, 64, 160, 320)
    blocks: tuple[int, ...] = (1, 2, 3, 2)
    dropout: float = 0.2
    balance: float = 1.0  # power of the prior in the logit adjustment; 0 trains under the training prior
    use_units: bool = True
    use_affect: bool = True
    use_doubt: bool = True
    spoil: bool = True  # augmentation beyond mirroring and geometry
    seed: int = 1
    workers: int = 2  # parts of a batch, one thread each; changes the result


def _rows(faces: Faces, scales: dict[str, tuple[float, float]]) -> list[Tensor]:
    units = action_units.targets(faces.units, scales) if scales else np.zeros((len(faces), 0), np.float32)
    known = np.isfinite(units).all(1) if scales else np.zeros(len(faces), bool)
    keep = (faces.split == TRAIN) & ((faces.weight > 0) | known)
    arrays = (faces.grey, faces.expression, faces.weight, faces.affect, units)
    return [torch.from_numpy(np.ascontiguousarray(a[keep])) for a in arrays]


def unit_scales(sources: list[Faces]) -> dict[str, tuple[float, float]]:
    """Units that the teacher moves on the training rows of all sources, with their scales."""
    pooled: dict[str, list[np.ndarray[Any, np.dtype[np.float32]]]] = {}
    for faces in sources:
        for au, value in faces.units.items():
            pooled.setdefault(au, []).append(value[faces.split == TRAIN])
    return action_units.live({au: np.concatenate(values) for au, values in pooled.items()})


def _learning_rate(step: int, total: int, peak: float) -> float:
    warm = max(1, total // 12)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * max(1e-3, 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))))


def _decayed(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Norms and biases are not decayed."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    for a, b in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if a.dtype.is_floating_point:
            a.lerp_(b, 1 - decay)
        else:
            a.copy_(b)


def _save(path: Path, state: dict[str, Any]) -> None:
    """Whole or not at all."""
    aside = path.with_suffix(".part")
    torch.save(state, aside)
    os.replace(aside, path)


def train(options: Options, device: str = "cpu") -> dict[str, float]:
    """Trains and writes `last.pt` (to resume), `best.pt` (averaged weights) and `log.jsonl` into `options.out`.

    `device`: "cpu", or "cuda", where one worker takes whole batches (a run stays on the device that it began on).

    Returns the validation figures of the best epoch. Raises `ModelError` for a folder of other options or a loss that
    is not a number.
    """
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    if device != "cpu":
        options = replace(options, workers=1)
    workers = options.workers
    torch.manual_seed(options.seed)
    fer, web = ferplus(Path(options.ferplus)), labelled(Path(options.faces))
    scales = unit_scales([fer, web]) if options.use_units else {}
    batches = Batches(*(torch.cat(pair) for pair in zip(_rows(fer, scales), _rows(web, scales), strict=True))).to(
        device
    )
    prior = training_prior(fer)
    log_prior = torch.from_numpy(options.balance * np.log(np.maximum(prior, PRIOR_FLOOR))).float().to(device)
    used = (True, options.use_affect, options.use_units, options.use_doubt)
    weights = tuple(weight * use for weight, use in zip(WEIGHTS, used, strict=True))
    loss = Objective(batches, log_prior, batches.spread(), weights, options.spoil)
    config = Config(widths=options.widths, blocks=options.blocks, aus=tuple(scales), dropout=options.dropout)
    network = FaceNetwork(config).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    replicas = Replicas(network, workers, device)
    average = copy.deepcopy(network)
    per_epoch = len(batches.grey) // options.batch
    total = per_epoch * options.epochs
    optimizer = torch.optim.SGD(_decayed(network, options.weight_decay), lr=0.1, momentum=0.9, nesterov=True)
    first, best = 0, -1.0
    last = out / "last.pt"
    written = json.loads(json.dumps(asdict(options)))
    if last.exists():
        state = torch.load(last, map_location=device, weights_only=True)
        if state["options"] != written:
            raise ModelError(f"{out} holds a run with other options. Name another folder, or empty it.")
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        replicas = Replicas(network, workers, device)
        first, best = int(state["epoch"]) + 1, float(state["best"])
    result: dict[str, float] = {}
    for epoch in range(first, options.epochs):
        started = time.monotonic()
        generator = torch.Generator().manual_seed(options.seed * 1000 + epoch)
        seeds = [options.seed * 1000 + epoch + 10**6 * (w + 1) for w in range(workers)]
        parts = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        size = options.small_size if epoch < options.epochs * options.small_share else INPUT
        replicas.train()
        sums = torch.zeros(len(TASKS))
        order = batches.epoch(options.batch, generator)
        for i, rows in enumerate(tqdm(order, total=per_epoch, desc=f"epoch {epoch + 1}", leave=False)):
            step = epoch * per_epoch + i
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(step, total, options.learning_rate)
            each = replicas.backward(loss, rows, size, parts).cpu()
            if not bool(torch.isfinite(each).all()):
                worst = float(each.sum())
                raise ModelError(f"The loss became {worst} in epoch {epoch + 1}; {last} holds the epoch before it.")
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            replicas.follow()
            _average(average, network, min(options.average, (1 + step) / (10 + step)))
            sums += each
        figures = validate(average, fer, web, prior, scales)
        figures |= {f"loss_{task}": float(v) for task, v in zip(TASKS, sums / per_epoch, strict=True)}
        figures |= {"epoch": epoch + 1, "size": size, "seconds": time.monotonic() - started}
        with (out / "log.jsonl").open("a") as lines:
            lines.write(json.dumps({k: round(v, 5) for k, v in figures.items()}) + "\n")
        log.info("%s", " ".join(f"{k} {v:.4g}" for k, v in figures.items()))
        if figures["choice"] > best:
            best, result = figures["choice"], figures
            _save(out / "best.pt", checkpoint(average, config, prior, scales, options.balance) | {"figures": figures})
        _save(last, {
            "options": written, "epoch": epoch, "best": best, "network": network.state_dict(),
            "average": average.state_dict(), "optimizer": optimizer.state_dict(),
        })  # fmt: skip
    return result


def main(data: Path, out: Path, *, device: str = "cpu", seed: int = 1, epochs: int | None = None) -> dict[str, float]:
    """`affectstream train face-mt`: trains on the prepared sets `data`/ferplus and `data`/faces into `out`, and writes
    what can be served, `face-mt.onnx` and, with the extra `quantize`, `face-mt-int8.onnx`.

    Called again with the same arguments it goes on where it was stopped. Raises `ModelError` or `FileNotFoundError`.
    """
    options = Options(str(data / "ferplus"), str(data / "faces"), str(out), seed=seed)
    figures = train(options if epochs is None else replace(options, epochs=epochs), device)
    weights = out / "face-mt.onnx"
    figures |= release(out / "best.pt", data, weights)
    if find_spec("nncf") is None:
        log.warning("no 8-bit version was made; it needs: pip install 'affectstream[quantize]'")
        return figures
    from models.face_mt.quantize import quantise

    return figures | quantise(weights, data, out / "face-mt-int8.onnx")


def checkpoint(
    network: nn.Module,
    config: Config,
    prior: np.ndarray[Any, Any],
    scales: dict[str, tuple[float, float]],
    balance: float,
) -> dict[str, Any]:
    """All that export needs, loadable with `weights_only=True`."""
    return {
        "network": network.state_dict(),
        "config": asdict(config),
        "prior": torch.from_numpy(np.asarray(prior)),
        "scales": {au: list(scale) for au, scale in scales.items()},
        "balance": balance,
    }


def validate(
    network: nn.Module, fer: Faces, web: Faces, prior: np.ndarray[Any, Any], scales: dict[str, tuple[float, float]]
) -> dict[str, float]:
    """Figures on FER+ validation and on the held-out pictures of the other source, and their mean that chooses."""
    rows = np.flatnonzero(fer.split == VALIDATION)
    figures = {f"val_{k}": v for k, v in scores(predict(network, fer.grey[rows]), fer, rows, prior, scales).items()}
    rows = np.flatnonzero(web.split == TEST)
    other = scores(predict(network, web.grey[rows]), web, rows, prior, scales)
    figures |= {f"web_{k}": v for k, v in other.items() if k in ("balanced_accuracy", "units_r")}
    figures["choice"] = (figures["val_accuracy"] + figures["val_f1"]) / 2
    return figures
