"""`affectstream train face-mt`: the default face network out of prepared folders, repeatably and resumably.

The start is a network that knows FER+'s expressions: the release face-mt-2, or a first stage that learns them here. A
stage of units follows, FER+'s votes and the units of both teachers on all faces, no ratings. Then five copies learn
valence, arousal and expressions from the web faces that people rated, and from what a teacher says of other faces, with
votes and units mixed in, each without another fifth of the rated faces. Their heads are fitted first, on the unchanged
trunk, so that training changes the trunk less (Kumar et al. 2022). What is served is the mean of the five copies'
weights (Wortsman et al. 2022); what each predicts for the fifth that it was not trained on calibrates it. The head of
the units is trained last, on that mean (`unit_head`). A killed run goes on from its last part; a loss that is not a
number ends it.
"""

import copy
import json
import logging
import math
import time
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from models.errors import ModelError
from models.face_mt import action_units, start, unit_head
from models.face_mt.data import (
    FOLDS,
    TEST,
    TRAIN,
    VALIDATION,
    Sets,
    fold_of,
    sets,
    training_prior,
)
from models.face_mt.export import VERSION, load, release
from models.face_mt.heads import fit_heads
from models.face_mt.network import Config, FaceNetwork, UnitHead
from models.face_mt.objective import (
    TASKS,
    Objective,
    Source,
    rated_source,
    unit_source,
    unit_spread,
    voted_source,
)
from models.face_mt.scores import Floats, affect_scores, expression_scores, predict, unit_correlations
from models.face_mt.teacher import Teacher, features
from models.files import written_whole

log = logging.getLogger(__name__)

PART = 100  # steps between two checkpoints, at which the random numbers are seeded anew as well
GRADIENT_NORM = 2.0
WARM = 0.06  # share of the steps in which the learning rate rises
HEADS = 5.0  # factor of the learning rate of new heads over that of the other layers
FIRST, UNITS = "first", "units"  # names of the stages before the folds
TAUGHT_STRIDE = 4  # every fourth face of FER+ is shown to the teacher


@dataclass(frozen=True)
class Options:
    """Hold what a run is made of; written beside its checkpoints. A run is only resumed with the same options."""

    data: str  # folder of the prepared sets ferplus, faces and webva
    out: str
    start: str | None  # the release to start from, an ONNX file; None: the first stage begins from nothing
    first_steps: int = 20_000
    first_mix: tuple[int, ...] = (26, 26, 0, 12)  # pictures of FER+, of FER+ with units, of webva and faces in a batch
    units_steps: int = 2150
    units_mix: tuple[int, ...] = (18, 14, 16, 16)
    fold_steps: int = 350
    fold_mix: tuple[int, ...] = (20, 32, 12)  # pictures of FER+, webva and faces
    first_rate: float = 1e-3  # peak of the learning rate
    units_rate: float = 5e-4
    fold_rate: float = 4e-4
    weight_decay: float = 0.05
    average: float = 0.995  # decay of the weight average, per step
    frozen: int = 1  # blocks after the stem that stay as they started, after the first stage
    widths: tuple[int, ...] = Config.widths
    blocks: tuple[int, ...] = Config.blocks
    dropout: float = 0.2
    seed: int = 1


def train(options: Options, data: Sets) -> Path:
    """Train the first stage and the folds, average them, and return the checkpoint of the mean, `out`/best.pt.

    Writes `first.pt`, `fold{n}.pt` and `held_out.npz`, what each fold said of the web faces that it never saw. Raises
    `ModelError` for a folder of other options or a loss that is not a number.
    """
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    _same(options, out / "options.json")
    rows = np.flatnonzero(data.webva.split == TRAIN)
    unrated = _unrated(data)
    first = _started(options) if options.start else _stage(options, data, FIRST, _new(options), unrated)
    before = _stage(options, data, UNITS, first, unrated)
    names = [f"fold{fold}" for fold in range(FOLDS)]
    trained = all((out / f"{name}.pt").exists() for name in names)
    shown = None if trained else _shown(data, [first, before])
    networks, said = [], []
    for fold, name in enumerate(names):
        unseen = rows[fold_of(rows) == fold]
        network = _fold(options, data, name, before, shown, np.setdiff1d(rows, unseen))
        networks.append(network)
        answers = predict(network, data.webva.grey[unseen])
        said.append({"rows": unseen} | vars(answers))
        found = expression_scores(answers, data.webva, unseen) | affect_scores(answers, data.webva, unseen)
        log.info("fold %d: %s", fold, " ".join(f"{k} {v:.3f}" for k, v in found.items()))
    mean = copy.deepcopy(networks[0])
    states = [network.state_dict() for network in networks]
    mean.load_state_dict({key: _mean([s[key] for s in states]) for key in states[0]})
    head, unseen, units, deviations = unit_head.train(mean, data, options.seed)
    held_out = {k: np.concatenate([one[k] for one in said]) for k in said[0]}
    assert (held_out["rows"] == unseen).all()
    _write_arrays(out / "held_out.npz", held_out | {"units": units, "unit_std": deviations})
    best = out / "best.pt"
    _save(best, checkpoint(mean, head, training_prior(data.ferplus)))
    return best


def _mean(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean of tensors; of whole numbers, which count batches, the first."""
    return torch.stack(tensors).mean(0) if tensors[0].dtype.is_floating_point else tensors[0]


def _same(options: Options, path: Path) -> None:
    written = json.dumps(asdict(options), indent=1)
    if path.exists() and path.read_text("utf-8") != written:
        raise ModelError(f"{path.parent} holds a run with other options. Name another folder, or empty it.")
    path.write_text(written, "utf-8")


def _unrated(data: Sets) -> list[Source]:
    """Return the training rows of FER+, those of them with units, of webva without its ratings, and of the faces."""
    fer, prior = data.ferplus, training_prior(data.ferplus)
    training, known = fer.split == TRAIN, np.isfinite(fer.units).all(1)
    return [
        voted_source(fer, np.flatnonzero(training & ((fer.weight > 0) | known)), prior),
        voted_source(fer, np.flatnonzero(training & known), prior),
        unit_source(data.webva, np.flatnonzero(data.webva.split == TRAIN)),
        unit_source(data.faces, np.flatnonzero(data.faces.split == TRAIN)),
    ]


@dataclass(frozen=True)
class Shown:
    """Hold the features of the frozen networks for the rated faces and for those that the teacher labels."""

    rated: list[Floats]  # (rows of webva, width) of each network
    voted: list[Floats]
    voted_rows: NDArray[np.int64]
    faces: list[Floats]
    faces_rows: NDArray[np.int64]


def _shown(data: Sets, networks: list[FaceNetwork]) -> Shown:
    fer, faces = data.ferplus, data.faces
    voted = np.flatnonzero((fer.split == TRAIN) & (fer.weight > 0))[::TAUGHT_STRIDE]
    others = np.flatnonzero(faces.split == TRAIN)
    return Shown(
        [features(network, data.webva.grey, mirrored=True) for network in networks],
        [features(network, fer.grey[voted]) for network in networks],
        voted,
        [features(network, faces.grey[others]) for network in networks],
        others,
    )


def _fold(
    options: Options, data: Sets, name: str, before: FaceNetwork, shown: Shown | None, rows: NDArray[np.int64]
) -> FaceNetwork:
    """Return the network that learned from webva's `rows`, and from a teacher that learned from the same rows."""
    if shown is None:
        return _stage(options, data, name, before, [])
    web = data.webva
    truth, rated = np.eye(web.expression.shape[1])[web.majority[rows]], web.affect[rows].astype(np.float64)
    teacher = Teacher([x[rows] for x in shown.rated], truth, rated)
    voted, others = teacher(shown.voted), teacher(shown.faces)
    start = copy.deepcopy(before)
    fit_heads(start, shown.rated[-1][rows], web.expression[rows], web.affect[rows], options.seed)
    prior = training_prior(data.ferplus)
    sources = [
        voted_source(data.ferplus, shown.voted_rows, prior, voted),
        rated_source(web, rows),
        unit_source(data.faces, shown.faces_rows, others),
    ]
    return _stage(options, data, name, start, sources)


def _new(options: Options) -> FaceNetwork:
    torch.manual_seed(options.seed)
    return FaceNetwork(Config(action_units.UNITS, options.widths, options.blocks, dropout=options.dropout))


def _started(options: Options) -> FaceNetwork:
    """Return the network with the weights of the release to start from."""
    network = _new(options)
    start.load(network, start.read(Path(str(options.start))))
    return network


def _stage(options: Options, data: Sets, name: str, before: FaceNetwork, sources: list[Source]) -> FaceNetwork:
    """Return the averaged network of one stage that begins at `before`, trained now or read from its checkpoint."""
    path = Path(options.out) / f"{name}.pt"
    torch.manual_seed(options.seed)
    # The order of weights in memory decides how sums are rounded: it is one for trained and for read networks.
    network: FaceNetwork = copy.deepcopy(before).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if path.exists():
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["average"])
        return network.eval()
    mix, steps, rate = {
        FIRST: (options.first_mix, options.first_steps, options.first_rate),
        UNITS: (options.units_mix, options.units_steps, options.units_rate),
    }.get(name, (options.fold_mix, options.fold_steps, options.fold_rate))
    run = _Run(options, network, rate, 0 if name == FIRST else options.frozen)
    run.resume(path.with_suffix(".run"))
    spread = unit_spread([data.webva, data.faces])
    for part in range(run.step // PART, math.ceil(steps / PART)):
        started = time.monotonic()
        seed = options.seed * 1_000_000 + part
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout
        for one in sources:
            one.begin()
        objective = Objective(sources, mix, spread)
        sums = torch.zeros(len(TASKS))
        ahead = range(part * PART, min((part + 1) * PART, steps))
        for step in tqdm(ahead, desc=f"{name} {part + 1}", leave=False):
            sums += run.learn(objective, generator, step / steps)
        run.step = ahead.stop
        figures = {task: float(v) for task, v in zip(TASKS, sums / len(ahead), strict=True)}
        log.info("%s step %d: %s", name, run.step, " ".join(f"{k} {v:.3g}" for k, v in figures.items()))
        with (Path(options.out) / "log.jsonl").open("a") as lines:
            rounded = {k: round(v, 5) for k, v in figures.items()}
            lines.write(
                json.dumps({"stage": name, "step": run.step, **rounded, "s": time.monotonic() - started}) + "\n"
            )
        run.save(path.with_suffix(".run"))
    _save(path, {"average": run.average.state_dict()})
    path.with_suffix(".run").unlink(missing_ok=True)
    return run.average.eval()


class _Run:
    """Hold network, weight average and optimizer of one stage."""

    def __init__(self, options: Options, network: FaceNetwork, rate: float, frozen: int) -> None:
        self.network = network
        self.average: FaceNetwork = copy.deepcopy(network).eval()
        self.step = 0
        self._rate, self._decay = rate, options.average
        if frozen:
            for part in (self.network.stem, *list(self.network.body)[:frozen]):
                part.requires_grad_(False)
        heads = [network.affect, network.units, network.occlusion]
        above = {id(p) for head in heads for p in head.parameters()}
        self._learning = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self._learning if id(p) not in above], "factor": 1.0},
            {"params": [p for p in self._learning if id(p) in above], "factor": HEADS},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=options.weight_decay)

    def learn(self, objective: Objective, generator: torch.Generator, progress: float) -> torch.Tensor:
        """Make one step and return the losses of the tasks. Raise `ModelError` for a loss that is not a number."""
        for group in self._optimizer.param_groups:
            rate = self._rate * (min(1.0, progress / WARM + 0.01) * 0.5 * (1 + math.cos(math.pi * progress)))
            group["lr"] = rate * group["factor"]
        self.network.train()
        losses = objective(self.network, generator)
        total = losses.sum()
        if not bool(torch.isfinite(total)):
            raise ModelError(f"The loss became {float(total.detach())} after step {self.step}, whose state is kept.")
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._learning, GRADIENT_NORM)
        self._optimizer.step()
        self._remember(progress)
        return losses.detach()

    @torch.no_grad()
    def _remember(self, progress: float) -> None:
        """Move the average towards the network, faster in the beginning."""
        for a, b in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - (self._decay if progress > WARM else 0.9))
            else:
                a.copy_(b)

    def save(self, path: Path) -> None:
        """Write everything that going on needs."""
        _save(path, {
            "step": self.step, "network": self.network.state_dict(), "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        })  # fmt: skip

    def resume(self, path: Path) -> None:
        """Go on from `path` if it is there."""
        if path.exists():
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.step = int(state["step"])
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])


def _save(path: Path, state: dict[str, Any]) -> None:
    """Write `path` whole or not at all."""
    with written_whole(path) as aside:
        torch.save(state, aside)


def _write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with written_whole(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def checkpoint(network: FaceNetwork, head: UnitHead, prior: NDArray[np.float64]) -> dict[str, Any]:
    """Return all that export needs, loadable with `weights_only=True`."""
    return {
        "network": network.state_dict(),
        "unit_head": head.state_dict(),
        "config": asdict(network.config),
        "prior": torch.from_numpy(np.asarray(prior)),
    }


def main(data: Path, out: Path, *, start: Path | None = None, seed: int = 1, **changes: Any) -> dict[str, float]:
    """Train on the prepared sets `data`/ferplus, faces and webva into `out`, and write what is served and its evidence.

    `start`: `face-mt.onnx` of face-mt-2, to start from. The files are `face-mt.onnx`, with the extra `quantize` also
    `face-mt-int8.onnx`, and the evidence page `VERSION.md` with its plots, as `affectstream evaluate face-mt` writes
    it. Called again with the same arguments it goes on where it was stopped. Raises `ModelError` or
    `FileNotFoundError`.
    """
    from models.face_mt.evaluate import evaluate

    options = replace(Options(str(data), str(out), None if start is None else str(start), seed=seed), **changes)
    found = sets(data)
    best = train(options, found)
    weights = out / "face-mt.onnx"
    figures = release(best, found, out / "held_out.npz", weights)
    network, head, _ = load(best)
    validation, unseen = (np.flatnonzero(f.split == s) for f, s in ((found.ferplus, VALIDATION), (found.faces, TEST)))
    figures |= expression_scores(predict(network, found.ferplus.grey[validation]), found.ferplus, validation)
    r = unit_correlations(unit_head.predict(network, head, found.faces, unseen)[0], found.faces, unseen)
    figures["units_r"] = float(np.median(list(r.values()))) if r else float("nan")
    small = None
    if find_spec("nncf") is None:
        log.warning("no 8-bit version was made; it needs: pip install 'affectstream[quantize]'")
    else:
        from models.face_mt.quantize import quantise

        small = out / "face-mt-int8.onnx"
        figures |= quantise(weights, found, small)
    evaluate(weights, data, out / f"{VERSION}.md", small)
    return figures
