"""Multi-term, multi-task gradient boosting: valence, arousal and expression from windows of three lengths.

Fujitsu's system ("Multi-term and multi-task affect analysis in the wild", ABAW 2020). Sixty LightGBM models in four
levels: one for each modality, window and target; one over the modalities of each window; one over the windows; and one
that joins each target's windows with the other two targets. Each level learns from out-of-fold predictions of the one
below, folds by video, so that no model sees what another made of its own training labels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.errors import CheckpointError, ModelError
from models.labels import EXPRESSIONS
from models.window_statistics import FPS, SHIFT, TERMS, labels, statistics

# Features a frame: AU intensities and occurrences, head pose, gaze, BODY_25 key points, deep features after PCA.
MODALITIES = {"au": 35, "head": 6, "gaze": 8, "pose": 75, "deep": 200}
TARGETS = ("valence", "arousal", "expression")
FOLDS = 5
ROUNDS, PATIENCE = 500, 30
# The paper searches these; its values are not given.
PARAMETERS: dict[str, Any] = {"num_leaves": 31, "learning_rate": 0.05, "max_depth": -1, "min_child_samples": 20}

Floats = NDArray[np.float64]
Frames = Mapping[str, Floats]  # modality: (frames, features), NaN where it failed; a modality may be missing


@dataclass(frozen=True)
class Video:
    """Frames at 30 a second with their annotation, -5 and -1 where there is none."""

    name: str
    frames: Frames
    va: NDArray[np.floating]
    expression: NDArray[np.integer]


@dataclass
class MultiTerm:
    """The sixty boosters by name, as LightGBM's text, and the standardisation of the frames."""

    standard: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)  # modality: mean, deviation
    boosters: dict[str, str] = field(default_factory=dict)
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    def windows(self, frames: Frames, ends: NDArray[np.int64]) -> dict[tuple[str, int], Floats]:
        """(modality, seconds) -> (evaluations, 4 features); all NaN for a modality that is missing."""
        length = max(len(x) for x in frames.values())
        out = {}
        for modality, (mean, std) in self.standard.items():
            x = frames.get(modality)
            x = np.full((length, len(mean)), np.nan) if x is None else (x - mean) / std
            for term in TERMS:
                out[modality, term] = statistics(x, term, ends).reshape(len(ends), -1)
        return out

    def fit(self, videos: list[Video], parameters: Mapping[str, Any] = PARAMETERS, folds: int = FOLDS) -> None:
        """Trains all levels; raises `ModelError` for fewer videos than folds, or a class that is never annotated."""
        names = sorted({v.name.removesuffix("_left").removesuffix("_right") for v in videos})
        if len(names) < folds:
            raise ModelError(f"{len(names)} videos cannot be dealt into {folds} folds.")
        for modality in videos[0].frames:
            frames = np.concatenate([v.frames[modality] for v in videos])
            self.standard[modality] = np.nanmean(frames, 0), np.maximum(np.nanstd(frames, 0), 1e-8)
        ends = [np.arange(SHIFT - 1, len(v.va), SHIFT) for v in videos]
        parts = [self.windows(v.frames, e) for v, e in zip(videos, ends, strict=True)]
        x = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        y: dict[tuple[str, int], Floats] = {}
        for term in TERMS:
            found = [labels(v.va, v.expression, term, e) for v, e in zip(videos, ends, strict=True)]
            va, expression = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
            y["valence", term], y["arousal", term] = va.T
            y["expression", term] = np.where(expression < 0, np.nan, expression)
        absent = set(range(len(EXPRESSIONS))) - set(y["expression", TERMS[0]][~np.isnan(y["expression", TERMS[0]])])
        if absent:
            raise ModelError(f"No frame is annotated as {', '.join(EXPRESSIONS[i] for i in sorted(absent))}.")
        fold = np.concatenate(
            [
                np.full(len(e), names.index(v.name.removesuffix("_left").removesuffix("_right")) % folds)
                for v, e in zip(videos, ends, strict=True)
            ]
        )
        self._levels(x, lambda name, given, target, term: self._train(name, given, y[target, term], fold, parameters))

    def predict(self, windows: Mapping[tuple[str, int], Floats]) -> dict[str, Floats]:
        """`va` (evaluations, 2), clipped to [-1, 1], and `expression` (evaluations, 7) probabilities."""
        final = self._levels(windows, lambda name, given, target, term: self._apply(name, given))
        va = np.concatenate((final["valence"], final["arousal"]), axis=1).clip(-1, 1)
        return {"va": va, "expression": final["expression"]}

    def _levels(self, x: Mapping[tuple[str, int], Floats], level: Any) -> dict[str, Floats]:
        """The hierarchy; `level(name, input, target, seconds)` gives a model's outputs, (evaluations, 1 or 7)."""
        short = TERMS[0]
        single, multi = {}, {}
        for target in TARGETS:
            for term in TERMS:
                below = [level(f"{m}/{term}/{target}", x[m, term], target, term) for m in self.standard]
                single[target, term] = level(f"single/{term}/{target}", np.hstack(below), target, term)
            terms = [single[target, term] for term in TERMS]
            multi[target] = level(f"multi/{target}", np.hstack(terms), target, short)
        final = {}
        for target in TARGETS:
            own = [single[target, term] for term in TERMS]
            others = [multi[other] for other in TARGETS if other != target]
            final[target] = level(f"fusion/{target}", np.hstack((*own, *others)), target, short)
        return final

    def _train(self, name: str, x: Floats, y: Floats, fold: NDArray[np.int64], parameters: Mapping[str, Any]) -> Floats:
        """Trains one model on all labelled rows; gives each row's prediction by a model that has not seen its video."""
        import lightgbm

        kind = "expression" if name.endswith("expression") else "va"
        options = dict(parameters) | _objective(kind) | {"metric": "None", "verbosity": -1, "num_threads": 1, "seed": 1}
        known = np.isfinite(y)
        out = np.zeros((len(x), len(EXPRESSIONS) if kind == "expression" else 1))
        rounds = []
        for i in np.unique(fold):
            inside, held = known & (fold != i), known & (fold == i)
            held = held if held.any() else inside  # a fold without a label for this target stops nothing early
            train = lightgbm.Dataset(x[inside], y[inside])
            booster = lightgbm.train(
                options, train, ROUNDS, [lightgbm.Dataset(x[held], y[held], reference=train)],
                feval=_score(kind), callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
            )  # fmt: skip
            rounds.append(booster.best_iteration)
            out[fold == i] = np.asarray(booster.predict(x[fold == i])).reshape((fold == i).sum(), -1)
        whole = lightgbm.train(options, lightgbm.Dataset(x[known], y[known]), max(1, int(np.median(rounds))))
        self.boosters[name] = whole.model_to_string()
        return out

    def _apply(self, name: str, x: Floats) -> Floats:
        import lightgbm

        if name not in self._loaded:
            self._loaded[name] = lightgbm.Booster(model_str=self.boosters[name])
        return np.asarray(self._loaded[name].predict(x, num_threads=1)).reshape(len(x), -1)

    def save(self, path: Path) -> None:
        """Writes the whole system as one JSON file: numbers and LightGBM's text, nothing that could run."""
        standard = {name: [mean.tolist(), std.tolist()] for name, (mean, std) in self.standard.items()}
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps({"terms": TERMS, "fps": FPS, "standard": standard, "boosters": self.boosters}))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> "MultiTerm":
        """What `save` wrote; raises `CheckpointError` if it is something else."""
        try:
            content = json.loads(path.read_text())
            standard = {name: (np.array(mean), np.array(std)) for name, (mean, std) in content["standard"].items()}
            return cls(standard, dict(content["boosters"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is not a multi-term model: {error!r}.") from error


def _objective(kind: str) -> dict[str, Any]:
    if kind == "expression":
        return {"objective": "multiclass", "num_class": len(EXPRESSIONS)}
    return {"objective": "regression"}


def _score(kind: str) -> Any:
    """The paper's metrics for early stopping: 2 CCC - MSE, and 0.67 F1 + 0.33 accuracy; larger is better."""

    def regression(pred: Floats, data: Any) -> tuple[str, float, bool]:
        label = data.get_label()
        return "2ccc-mse", 2 * metrics.ccc(label, pred) - float(((label - pred) ** 2).mean()), True

    def classes(pred: Floats, data: Any) -> tuple[str, float, bool]:
        label = data.get_label().astype(int)
        scores = metrics.expression_scores(label, np.asarray(pred).reshape(len(label), -1).argmax(1), len(EXPRESSIONS))
        return "f1-accuracy", metrics.expression_2020(scores), True

    return classes if kind == "expression" else regression


def balanced(va: NDArray[np.floating], expression: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int64]:
    """The paper's balancing as row numbers: half of the neutral rows, and of those in the middle of VA; others twice.

    The middle is the four central cells of an 8x8 grid.
    """
    common = (expression == 0) | (np.abs(va) < 0.25).all(1)
    rows = np.arange(len(va))
    halved = rng.permutation(rows[common])[: (common.sum() + 1) // 2]
    return np.sort(np.concatenate((halved, np.repeat(rows[~common], 2))))


def principal_components(x: Floats, components: int) -> tuple[Floats, Floats]:
    """Mean (features,) and `components` directions (components, features) of training frames, without whitening."""
    mean = x.mean(0)
    _, vectors = np.linalg.eigh(np.cov(x - mean, rowvar=False))
    directions = vectors[:, ::-1][:, :components].T
    sign = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])
    return mean, directions * sign[:, None]
