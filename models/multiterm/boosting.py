"""Train one LightGBM model of the multi-term hierarchy on all labelled rows, and predict each row out of fold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.labels import EXPRESSIONS
from models.multiterm.windows import TERMS

# The paper searches these; its values are not given.
PARAMETERS: dict[str, Any] = {"num_leaves": 31, "learning_rate": 0.05, "max_depth": -1, "min_child_samples": 20}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Boosting:
    """Hold how every model is trained.

    `grid`: parameter -> values, of which each model takes the combination that scores best on its held-out folds.
    `balance`: the paper's, see `balanced`. `terms`: seconds of the windows; the paper also tries 3. `keep`: share of
    the features of a modality's window, by their importance, that its models read; the paper also tries half.
    `components`: principal components of the deep features, 200 of ResNet50 and 300 of EfficientNet in the paper.
    """

    parameters: Mapping[str, Any] = field(default_factory=lambda: PARAMETERS)
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    rounds: int = 500
    patience: int = 30  # rounds without a better score, after which a model is done
    folds: int = 5
    balance: bool = False
    terms: tuple[int, ...] = TERMS
    keep: float = 1.0
    components: int = 200
    seed: int = 1


@dataclass(frozen=True)
class Boosted:
    """Hold a model as LightGBM's `text`, and `unseen`: (rows, 1 or 7) predicted by models that lack the row's fold."""

    text: str
    unseen: Floats
    rounds: int


def boost(
    x: Floats,
    y: Floats,
    fold: NDArray[np.int64],
    how: Boosting,
    *,
    classes: bool,
    common: NDArray[np.bool_],
    select: bool = False,
) -> Boosted:
    """Return a model of (rows, features) `x` with labels `y`, NaN where there is none: a regression, or `classes`.

    Each fold stops early on its own held-out rows, and the model of all rows has their median of rounds. `common`: rows
    that balancing halves. `select`: whether the share `how.keep` of the features is chosen first; the model still takes
    all of them and reads only those.
    """
    import lightgbm

    known = np.isfinite(y)

    def rows(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return balanced(chosen, common, np.random.default_rng(how.seed)) if how.balance else np.flatnonzero(chosen)

    if select and how.keep < 1:
        x = np.where(_important(x, y, how, rows(known), classes=classes), x, 0.0)  # no tree splits a constant
    combinations = [dict(zip(how.grid, values, strict=True)) for values in product(*how.grid.values())]
    tried = [_by_fold(x, y, fold, how, classes=classes, rows=rows, chosen=chosen) for chosen in combinations]
    best = max(tried, key=lambda one: one.score)  # the first of equals
    drawn, most = rows(known), max(1, int(np.median(best.rounds)))
    whole = lightgbm.train(best.options, lightgbm.Dataset(x[drawn], y[drawn]), most)
    return Boosted(whole.model_to_string(), best.unseen, most)


def _important(x: Floats, y: Floats, how: Boosting, drawn: NDArray[np.int64], *, classes: bool) -> NDArray[np.bool_]:
    """Return (features,) which of them are the share `how.keep` with the highest importance (splits) in one model."""
    import lightgbm

    options = {**how.parameters, **objective(classes), "verbosity": -1, "num_threads": 1, "seed": how.seed}
    options |= {"deterministic": True}
    booster = lightgbm.train(options, lightgbm.Dataset(x[drawn], y[drawn]), how.rounds)
    importance = booster.feature_importance()
    chosen = np.zeros(x.shape[1], bool)
    chosen[np.argsort(-importance, kind="stable")[: max(1, round(how.keep * x.shape[1]))]] = True
    return chosen


@dataclass(frozen=True)
class _Tried:
    """Hold `options` of LightGBM, their mean score on the held-out folds, and the predictions there."""

    options: dict[str, Any]
    score: float
    unseen: Floats
    rounds: list[int]


def _by_fold(
    x: Floats,
    y: Floats,
    fold: NDArray[np.int64],
    how: Boosting,
    *,
    classes: bool,
    rows: Callable[[NDArray[np.bool_]], NDArray[np.int64]],
    chosen: Mapping[str, Any],
) -> _Tried:
    """Return the predictions of a model for each fold, trained on the other folds' rows."""
    import lightgbm

    options = {**how.parameters, **chosen, **objective(classes)}
    options |= {"metric": "None", "verbosity": -1, "num_threads": 1, "seed": how.seed, "deterministic": True}
    known = np.isfinite(y)
    unseen = np.zeros((len(x), len(EXPRESSIONS) if classes else 1))
    rounds, scores = list[int](), list[float]()
    for i in np.unique(fold):
        inside, held = known & (fold != i), known & (fold == i)
        held = held if held.any() else inside  # a fold without a label for this target stops nothing early
        drawn = rows(inside)
        data = lightgbm.Dataset(x[drawn], y[drawn])
        booster = lightgbm.train(
            options, data, how.rounds, [lightgbm.Dataset(x[held], y[held], reference=data)],
            feval=_classes if classes else _regression,
            callbacks=[lightgbm.early_stopping(how.patience, verbose=False)],
        )  # fmt: skip
        rounds.append(booster.best_iteration)
        scores += booster.best_score["valid_0"].values()
        unseen[fold == i] = np.asarray(booster.predict(x[fold == i], num_threads=1)).reshape((fold == i).sum(), -1)
    return _Tried(options, float(np.mean(scores)), unseen, rounds)


def neutral_rows(expression: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return (rows,) which are neutral: those that are common among the expressions."""
    common: NDArray[np.bool_] = expression == 0
    return common


def central_rows(va: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return (rows,) which lie in the four central cells of an 8x8 grid of valence and arousal (rows, 2)."""
    common: NDArray[np.bool_] = (np.abs(va) < 0.25).all(1)
    return common


def balanced(chosen: NDArray[np.bool_], common: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the `chosen` rows' numbers as the paper balances them: half of the `common` ones, the others twice."""
    often = rng.permutation(np.flatnonzero(chosen & common))
    return np.sort(np.concatenate((often[: (len(often) + 1) // 2], np.repeat(np.flatnonzero(chosen & ~common), 2))))


def objective(classes: bool) -> dict[str, Any]:
    """Return LightGBM's options for a regression, or for the seven expressions."""
    return {"objective": "multiclass", "num_class": len(EXPRESSIONS)} if classes else {"objective": "regression"}


# The paper's metrics for early stopping: 2 CCC - MSE, and 0.67 F1 + 0.33 accuracy; larger is better.


def _regression(pred: Floats, data: Any) -> tuple[str, float, bool]:
    label = data.get_label()
    return "2ccc-mse", 2 * metrics.ccc(label, pred) - float(((label - pred) ** 2).mean()), True


def _classes(pred: Floats, data: Any) -> tuple[str, float, bool]:
    label = data.get_label().astype(int)
    scores = metrics.expression_scores(label, np.asarray(pred).reshape(len(label), -1).argmax(1), len(EXPRESSIONS))
    return "f1-accuracy", metrics.expression_2020(scores), True
