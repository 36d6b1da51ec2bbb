"""Predict valence, arousal and expression by gradient boosting over windows of three lengths.

Fujitsu's system ("Multi-term and multi-task affect analysis in the wild", ABAW 2020). Sixty LightGBM models stand in
four levels: one for each modality, window and target; one over the modalities of each window; one over the windows; and
one that joins each target's windows with the other two targets. Each level learns from out-of-fold predictions of the
one below, folds by video, so that no model sees what another made of its own training labels.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import CheckpointError, ModelError
from models.files import write_text
from models.labels import EXPRESSIONS
from models.multiterm.boosting import Boosted, Boosting, boost, central_rows, neutral_rows, objective
from models.multiterm.windows import FPS, KNOWN_TERMS, SHIFT, STATISTICS, TERMS, labels, statistics

# Features a frame: AU intensities and occurrences, head pose, gaze, BODY_25 key points, deep features after PCA.
MODALITIES = {"au": 35, "head": 6, "gaze": 8, "pose": 75, "deep": 200}
TARGETS = ("valence", "arousal", "expression")

Floats = NDArray[np.float64]
Frames = Mapping[str, Floats]  # modality: (frames, features), NaN where it failed; a modality may be missing
Level = Callable[[str, Floats, str, int], Floats]  # name, input, target, seconds -> outputs


@dataclass(frozen=True)
class Video:
    """Hold frames at 30 a second with their annotation, -5 and -1 where there is none."""

    name: str
    frames: Frames
    va: NDArray[np.floating]
    expression: NDArray[np.integer]

    @property
    def source(self) -> str:
        """Return the name of the file; two people share one."""
        return self.name.removesuffix("_left").removesuffix("_right")


@dataclass(frozen=True)
class Levels:
    """Hold the outputs of the upper levels, (evaluations, 1 or 7) each.

    `single`: by target and seconds, of the models over one window. `multi`: by target, of those over all windows.
    `final`: by target, of those that join the three targets.
    """

    single: dict[tuple[str, int], Floats]
    multi: dict[str, Floats]
    final: dict[str, Floats]


@dataclass
class MultiTerm:
    """Hold the boosters by name, as LightGBM's text, and the preprocessing of frames before the windows.

    `standard`: modality -> mean and deviation of each feature, NaN where training never saw one. `deep`: mean and
    directions of the principal components of the deep features, and `extractor`, the version of the weights that gave
    these. `terms`: seconds of the windows.
    """

    standard: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    boosters: dict[str, str] = field(default_factory=dict)
    deep: tuple[Floats, Floats] | None = None
    extractor: str = ""
    terms: tuple[int, ...] = TERMS
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def width(self) -> int:
        """Return the features of a frame, over all modalities."""
        return sum(len(mean) for mean, _ in self.standard.values())

    def columns(self) -> dict[str, slice]:
        """Return where each modality lies among the features of a frame."""
        ends = np.cumsum([len(mean) for mean, _ in self.standard.values()]).tolist()
        return {name: slice(a, b) for name, a, b in zip(self.standard, [0, *ends], ends, strict=False)}

    def standardised(self, frames: Frames) -> Floats:
        """Return (frames, `width`): all modalities side by side and standardised, NaN where one is missing.

        `deep` may still have its own width; it is projected on its principal components then.
        """
        length = max(len(x) for x in frames.values())
        parts = []
        for modality, (mean, std) in self.standard.items():
            x = frames.get(modality)
            if x is not None and modality == "deep" and self.deep is not None:
                x = (x - self.deep[0]) @ self.deep[1].T
            parts.append(np.full((length, len(mean)), np.nan) if x is None else (x - mean) / std)
        return np.hstack(parts)

    def by_modality(self, terms: Mapping[int, Floats]) -> dict[tuple[str, int], Floats]:
        """Return (evaluations, 4 features) by modality and seconds, of statistics (evaluations, 4, `width`)."""
        columns = self.columns()
        return {
            (modality, seconds): found[:, :, part].reshape(len(found), -1)
            for modality, part in columns.items()
            for seconds, found in terms.items()
        }

    def windows(self, frames: Frames, ends: NDArray[np.int64]) -> dict[tuple[str, int], Floats]:
        """Return by modality and seconds (evaluations, 4 features); all NaN for a modality that is missing."""
        x = self.standardised(frames)
        return self.by_modality({seconds: statistics(x, seconds, ends) for seconds in self.terms})

    def fit(
        self,
        videos: list[Video],
        how: Boosting | None = None,
        done: Callable[[str, Callable[[], Boosted]], Boosted] = lambda _, make: make(),
    ) -> None:
        """Train all levels; `done(name, make)` returns a model that is there already, or makes it.

        Raise `ModelError` for fewer videos than folds, or a class that is never annotated.
        """
        how = how or Boosting()
        self.terms = how.terms
        names = sorted({v.source for v in videos})
        if len(names) < how.folds:
            raise ModelError(f"{len(names)} videos cannot be dealt into {how.folds} folds.")
        absent = set(range(len(EXPRESSIONS))) - {int(i) for v in videos for i in np.unique(v.expression)}
        if absent:
            raise ModelError(f"No frame is annotated as {', '.join(EXPRESSIONS[i] for i in sorted(absent))}.")
        self._standardise(videos, how.components)
        ends = [np.arange(SHIFT - 1, len(v.va), SHIFT) for v in videos]
        parts = [self.windows(v.frames, e) for v, e in zip(videos, ends, strict=True)]
        x = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        y: dict[tuple[str, int], Floats] = {}
        for term in self.terms:
            found = [labels(v.va, v.expression, term, e) for v, e in zip(videos, ends, strict=True)]
            va, expression = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
            y["valence", term], y["arousal", term] = va.T
            y["expression", term] = np.where(expression < 0, np.nan, expression)
        fold = np.repeat([names.index(v.source) % how.folds for v in videos], [len(e) for e in ends])
        neutral = {term: neutral_rows(y["expression", term]) for term in self.terms}
        central = {
            term: central_rows(np.stack((y["valence", term], y["arousal", term]), axis=1)) for term in self.terms
        }

        def train(name: str, given: Floats, target: str, term: int) -> Floats:
            classes = target == "expression"
            rows, select = (neutral if classes else central)[term], name.split("/")[0] in MODALITIES
            boosted = done(
                name,
                lambda: boost(given, y[target, term], fold, how, classes=classes, common=rows, select=select),
            )
            self.boosters[name] = boosted.text
            return boosted.unseen

        self._levels(x, train)

    def _standardise(self, videos: list[Video], components: int) -> None:
        """Set principal components, means and deviations from the training frames, leaving out absent modalities."""
        for modality in videos[0].frames:
            frames = np.concatenate([v.frames[modality] for v in videos])
            known = frames[np.isfinite(frames).all(1)]
            if modality == "deep" and len(known) > 1:
                self.deep = principal_components(known, components)
                frames = (frames - self.deep[0]) @ self.deep[1].T
            if np.isfinite(frames).any():
                self.standard[modality] = _standard(frames)

    def predict(self, windows: Mapping[tuple[str, int], Floats]) -> dict[str, Floats]:
        """Return `va` (evaluations, 2), clipped to [-1, 1], and `expression` (evaluations, 7) probabilities."""
        return _joined(self._predicted(windows).final)

    def predict_levels(self, windows: Mapping[tuple[str, int], Floats]) -> dict[str, dict[str, Floats]]:
        """Return what `predict` does for each level of the paper's Table I.

        The levels are "1 s", "6 s" and so on for single terms, then "multi-term" and "multi-task".
        """
        levels = self._predicted(windows)
        rows = {f"{term} s": {target: levels.single[target, term] for target in TARGETS} for term in self.terms}
        rows |= {"multi-term": levels.multi, "multi-task": levels.final}
        return {name: _joined(outputs) for name, outputs in rows.items()}

    def _predicted(self, windows: Mapping[tuple[str, int], Floats]) -> Levels:
        return self._levels(windows, lambda name, given, target, term: self._apply(name, given))

    def _levels(self, x: Mapping[tuple[str, int], Floats], level: Level) -> Levels:
        """Return the outputs of the hierarchy, of which `level(name, input, target, seconds)` gives each model's."""
        short = self.terms[0]
        single, multi = {}, {}
        for target in TARGETS:
            for term in self.terms:
                below = [level(f"{m}/{term}/{target}", x[m, term], target, term) for m in self.standard]
                single[target, term] = level(f"single/{term}/{target}", np.hstack(below), target, term)
            terms = [single[target, term] for term in self.terms]
            multi[target] = level(f"multi/{target}", np.hstack(terms), target, short)
        final = {}
        for target in TARGETS:
            own = [single[target, term] for term in self.terms]
            others = [multi[other] for other in TARGETS if other != target]
            final[target] = level(f"fusion/{target}", np.hstack((*own, *others)), target, short)
        return Levels(single, multi, final)

    def _apply(self, name: str, x: Floats) -> Floats:
        return np.asarray(self._booster(name).predict(x, num_threads=1)).reshape(len(x), -1)

    def _booster(self, name: str) -> Any:
        import lightgbm

        if name not in self._loaded:
            self._loaded[name] = lightgbm.Booster(model_str=self.boosters[name])
        return self._loaded[name]

    def save(self, path: Path) -> None:
        """Write the whole system as one JSON file: numbers and LightGBM's text, nothing that could run."""
        content = {
            "terms": self.terms,
            "fps": FPS,
            "extractor": self.extractor,
            "standard": {name: [_listed(mean), _listed(std)] for name, (mean, std) in self.standard.items()},
            "deep": None if self.deep is None else [part.tolist() for part in self.deep],
            "boosters": self.boosters,
        }
        write_text(path, json.dumps(content, allow_nan=False))

    @classmethod
    def load(cls, path: Path) -> "MultiTerm":
        """Return what `save` wrote. Raise `CheckpointError` if it is something else, or not whole."""
        import lightgbm

        try:
            content = json.loads(path.read_text("utf-8"))
            terms = tuple(content["terms"])
            if not set(TERMS) <= set(terms) <= set(KNOWN_TERMS) or content["fps"] != FPS:
                raise ValueError(f"its windows are {content['terms']} s at {content['fps']} frames a second")
            made = cls(
                {name: (_numbers(mean), _numbers(std)) for name, (mean, std) in content["standard"].items()},
                dict(content["boosters"]),
                None if content["deep"] is None else (np.array(content["deep"][0]), np.array(content["deep"][1])),
                str(content["extractor"]),
                terms,
            )
            made._check()
        except (OSError, ValueError, KeyError, TypeError, lightgbm.basic.LightGBMError) as error:
            raise CheckpointError(f"{path} is not a multi-term model: {error!r}.") from error
        return made

    def _check(self) -> None:
        """Raise `ValueError` for a model that is missing or reads another number of features."""
        if not self.standard or not self.standard.keys() <= MODALITIES.keys():
            raise ValueError(f"its modalities are {', '.join(self.standard)}; known are {', '.join(MODALITIES)}")
        expected: dict[str, int] = {}

        def level(name: str, given: Floats, target: str, term: int) -> Floats:
            expected[name] = given.shape[1]
            return np.zeros((1, len(EXPRESSIONS) if target == "expression" else 1))

        self._levels(self.by_modality(dict.fromkeys(self.terms, np.zeros((1, len(STATISTICS), self.width)))), level)
        if missing := expected.keys() - self.boosters.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        for name, features in expected.items():
            if self._booster(name).num_feature() != features:
                raise ValueError(f"{name} reads {self._booster(name).num_feature()} numbers, not {features}")


def untrained(deep: int, seed: int = 0) -> MultiTerm:
    """Return a whole system trained on noise, to run the program without weights; `deep`: deep features before PCA."""
    import lightgbm

    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(deep, deep)))[0][: MODALITIES["deep"]]
    widths = MODALITIES | {"deep": len(directions)}
    system = MultiTerm({name: (np.zeros(n), np.ones(n)) for name, n in widths.items()})
    system.deep = np.zeros(deep), directions
    rows = 8 * len(EXPRESSIONS)

    def level(name: str, given: Floats, target: str, term: int) -> Floats:
        classes = target == "expression"
        options = objective(classes) | {"num_leaves": 8, "min_child_samples": 2, "learning_rate": 0.2, "seed": seed}
        options |= {"feature_fraction": 0.1 if given.shape[1] > 100 else 1.0, "verbosity": -1, "num_threads": 1}
        y = rng.permutation(np.arange(rows) % len(EXPRESSIONS)) if classes else rng.uniform(-1, 1, rows)
        booster = lightgbm.train(options, lightgbm.Dataset(given, y), 12)
        system.boosters[name] = booster.model_to_string()
        return np.asarray(booster.predict(given, num_threads=1)).reshape(rows, -1)

    noise = {term: rng.normal(size=(rows, len(STATISTICS), system.width)) for term in TERMS}
    system._levels(system.by_modality(noise), level)
    return system


def _joined(outputs: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return `va` (evaluations, 2), clipped to [-1, 1], and `expression` (evaluations, 7) of one level's outputs."""
    va = np.concatenate((outputs["valence"], outputs["arousal"]), axis=1).clip(-1, 1)
    return {"va": va, "expression": outputs["expression"]}


def _standard(frames: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation of each column over its valid frames; NaN for a column that has none."""
    n = np.isfinite(frames).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(frames, 0) / n
        std = np.sqrt(np.nansum((frames - mean) ** 2, 0) / n)
    return mean, np.where(n > 0, np.maximum(std, 1e-8), np.nan)


def _listed(x: Floats) -> list[float | None]:
    """Return the numbers with None for NaN, which JSON does not have."""
    return [value if np.isfinite(value) else None for value in x.tolist()]


def _numbers(x: list[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in x], np.float64)


def principal_components(x: Floats, components: int) -> tuple[Floats, Floats]:
    """Return the mean (features,) and `components` directions (components, features) of frames, without whitening."""
    mean = x.mean(0)
    _, vectors = np.linalg.eigh(np.cov(x - mean, rowvar=False))
    directions = vectors[:, ::-1][:, :components].T
    sign = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])
    return mean, directions * sign[:, None]
