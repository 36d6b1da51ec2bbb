"""What the evidence page says of expressions, valence and arousal: tables of figures with intervals."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.face_mt import augment, occluders, spoil
from models.face_mt.data import Faces
from models.face_mt.drawings import drawings
from models.face_mt.objective import COVERED, FREE
from models.face_mt.scores import Floats, Rows, concordance, macro_f1, weighted_calibration_error
from models.face_mt.served import Outputs, Served
from models.face_mt.votes import CLASSES
from models.labels import EXPRESSIONS

Table = list[dict[str, Any]]
SEVEN = len(EXPRESSIONS)
RESAMPLES = 1000
DRAWS = 200
ROBUSTNESS_STRIDE = 3  # every third face: the curves need no more
SMALL, DARK, TURNED = 30, 0.2, 20.0  # px of face width; share of the light; degrees of yaw
AFFECT = ("valence", "arousal")


def interval(measure: Callable[[Rows], float], n: int, seed: int = 1) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `measure`, which takes the chosen row numbers."""
    rng = np.random.default_rng(seed)
    values = [measure(rng.integers(0, n, n)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def _row(name: str, measure: Callable[[Rows], float], n: int) -> dict[str, Any]:
    low, high = interval(measure, n)
    return {"measure": name, "faces": n, "value": measure(np.arange(n)), "low": low, "high": high}


def area_under(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often a positive has the higher of two scores."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    ones = int(positive.sum())
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / max(ones * (len(scores) - ones), 1))


def expression_rows(out: Outputs, faces: Faces, rows: Rows) -> Table:
    """Return the figures of the expressions on faces with a majority, under both priors."""
    truth = faces.majority[rows]
    named = truth >= 0
    t8, p8, b8 = truth[named], out.trained[named], out.balanced[named]
    basic = t8 < SEVEN
    t7, g7, h7 = t8[basic], p8[basic, :SEVEN].argmax(1), b8[basic, :SEVEN].argmax(1)

    def recall(chosen: Rows, guess: Rows) -> float:
        t, g = t7[chosen], guess[chosen]
        return float(np.mean([(g[t == c] == c).mean() for c in range(SEVEN) if (t == c).any()]))

    return [
        _row("accuracy, 8 classes, FER+ prior", lambda i: float((p8[i].argmax(1) == t8[i]).mean()), len(t8)),
        _row("accuracy, 7 classes, FER+ prior", lambda i: float((g7[i] == t7[i]).mean()), len(t7)),
        _row("macro F1, 7 classes, FER+ prior", lambda i: macro_f1(t7[i], g7[i], SEVEN), len(t7)),
        _row("accuracy, 8 classes, balanced prior", lambda i: float((b8[i].argmax(1) == t8[i]).mean()), len(t8)),
        _row("accuracy, 7 classes, balanced prior", lambda i: float((h7[i] == t7[i]).mean()), len(t7)),
        _row("macro F1, 7 classes, balanced prior", lambda i: macro_f1(t7[i], h7[i], SEVEN), len(t7)),
        _row("mean recall, 7 classes, balanced prior", lambda i: recall(i, h7), len(t7)),
    ]


def calibration_rows(served: Served, out: Outputs, faces: Faces, rows: Rows) -> Table:
    """Return the calibration errors of eight classes, with the faces weighted to either prior.

    The measure is above zero for so few faces even where every probability is right: what it is then on average is
    beside it, and the errors of the folds on the many more faces that each never saw, as the file's metadata has them.
    """
    truth = faces.majority[rows]
    named = truth >= 0
    truth, balanced = truth[named], out.balanced[named]
    table = []
    for name, key, prior in (
        ("balanced, faces weighted to equal classes", "balanced", np.full(len(CLASSES), 1 / len(CLASSES))),
        ("FER+'s, faces weighted to FER+'s shares", "ferplus", served.prior),
    ):
        table.append(
            {
                "prior": name,
                "faces": len(truth),
                "calibration error": weighted_calibration_error(balanced, truth, prior),
                "mean of perfect calibration": perfect_calibration_error(balanced, prior),
                "of the folds, faces kept back": served.facts.get("held_out_calibration", {}).get(key, ""),
            }
        )
    return table


def perfect_calibration_error(balanced: Floats, prior: Floats, seed: int = 1) -> float:
    """Return the mean calibration error where the classes are drawn from the (n, c) probabilities themselves."""
    rng = np.random.default_rng(seed)
    total = balanced.cumsum(1)
    errors = []
    for _ in range(DRAWS):
        truth = np.minimum((total < rng.random((len(balanced), 1))).sum(1), balanced.shape[1] - 1)
        errors.append(weighted_calibration_error(balanced, truth, prior))
    return float(np.mean(errors))


def correlation(x: Floats, y: Floats) -> float:
    """Return Pearson's r of two (n,) series."""
    matrix: Floats = np.atleast_2d(np.corrcoef(x, y))
    return float(matrix[0, 1])


def _rmse(x: Floats, y: Floats) -> float:
    return float(np.sqrt(((x - y) ** 2).mean()))


def paired(measure: Callable[[Floats, Floats], float], x: Floats, y: Floats, chosen: Rows) -> float:
    """Return the measure of the chosen rows of two series."""
    return measure(x[chosen], y[chosen])


def affect_rows(out: Outputs, faces: Faces, rows: Rows) -> Table:
    """Return the agreement of valence and arousal with people's ratings."""
    rated = faces.affect[rows].astype(np.float64)
    table = []
    for k, name in enumerate(AFFECT):
        x, y = out.va[:, k], rated[:, k]
        table.append(_row(f"CCC of {name}", partial(paired, concordance, x, y), len(rows)))
        table.append(_row(f"RMSE of {name}", partial(paired, _rmse, x, y), len(rows)))
    for said, va in (("published", out.va), ("rated", rated)):
        measure = partial(paired, correlation, va[:, 0], va[:, 1])
        table.append(_row(f"r of valence with arousal, as {said}", measure, len(rows)))
    for k, name in enumerate(AFFECT):
        for side, at in (("lowest", 0), ("highest", -1)):
            extreme = float(np.sort(out.va[:, k])[at])
            row = {"measure": f"{side} {name}", "faces": len(rows), "value": extreme, "low": "", "high": ""}
            table.append(row)
    return table


def _covered(out: Outputs, rated: Floats, group: str) -> dict[str, Any]:
    row: dict[str, Any] = {"faces": group, "n": len(rated)}
    for k, name in enumerate(AFFECT):
        z = np.abs(out.va[:, k] - rated[:, k]) / out.std[:, k]
        row |= {
            f"{name} within 1 std": float((z <= 1).mean()),
            f"{name} within 2": float((z <= 2).mean()),
            f"mean std of {name}": float(out.std[:, k].mean()),
        }
    return row


def _part(out: Outputs, chosen: NDArray[np.bool_]) -> Outputs:
    return Outputs(**{name: values[chosen] for name, values in vars(out).items()})


def deviation_rows(served: Served, out: Outputs, faces: Faces, rows: Rows) -> Table:
    """Return the share of people's ratings within one and two published deviations, by expression and kind of face."""
    rated, truth = faces.affect[rows].astype(np.float64), faces.majority[rows]
    table = [_covered(out, rated, "all")]
    for c, name in enumerate(CLASSES):
        if (truth == c).any():
            table.append(_covered(_part(out, truth == c), rated[truth == c], f"rated {name}"))
    grey = faces.grey[rows]
    for name, spoiled in (
        (f"dark: {DARK:.0%} of the light", np.stack([spoil.brightness(crop, DARK) for crop in grey])),
        (f"small: {SMALL} px wide", np.stack([spoil.width(crop, SMALL) for crop in grey])),
    ):
        table.append(_covered(served(spoiled), rated, name))
    turned = np.abs(faces.yaw[rows]) >= TURNED
    if turned.any():
        table.append(_covered(_part(out, turned), rated[turned], f"turned: {TURNED:.0f} degrees or more"))
    pictures, covered = hidden(grey)
    on_hidden, over = served(pictures), covered > COVERED
    table.append(_covered(_part(on_hidden, over), rated[over], f"covered: more than {COVERED:.0%} of nose and mouth"))
    return table


def hidden(grey: NDArray[np.uint8], seed: int = 7) -> tuple[NDArray[np.uint8], Floats]:
    """Return the pictures with things drawn over them that training never saw, and the covered shares (n,)."""
    pictures, covered = occluders.cover(
        torch.from_numpy(grey.copy()).float(), occluders.bank(seed=seed), torch.Generator().manual_seed(seed)
    )
    return pictures.round().to(torch.uint8).numpy(), covered.numpy().astype(np.float64)


def occlusion_rows(served: Served, out: Outputs, faces: Faces, rows: Rows, limit: float) -> Table:
    """Return how well covered faces are found: things drawn over test faces, and the same faces free."""
    pictures, covered = hidden(faces.grey[rows])
    shown = served(pictures).occluded
    over, beside = covered > COVERED, covered < FREE
    scores = np.concatenate([shown[over], shown[beside], out.occluded])
    truth = np.concatenate([np.ones(over.sum()), np.zeros(beside.sum() + len(rows))])
    ones = int(truth.sum())
    return [
        {
            "measure": "area under the curve, covered against free",
            "faces": len(truth),
            "value": area_under(scores, truth == 1),
        },
        {
            "measure": f"covered faces found (limit {limit})",
            "faces": ones,
            "value": float((shown[over] > limit).mean()),
        },
        {
            "measure": "faces with something beside nose and mouth, taken for covered",
            "faces": int(beside.sum()),
            "value": float((shown[beside] > limit).mean()),
        },
        {
            "measure": "photographs as they are, taken for covered (some are)",
            "faces": len(rows),
            "value": float((out.occluded > limit).mean()),
        },
    ]


def doubt_rows(served: Served, faces: Faces, rows: Rows, limit: float, covered: float) -> Table:
    """Return the shares of pictures that nothing is read from: no class reaches `limit`, or cover exceeds `covered`."""
    generator = torch.Generator().manual_seed(11)
    grey = faces.grey[rows]
    kinds = {
        "photographs": grey,
        "upside down": grey[:, ::-1],
        "drawn faces": drawings(200, generator).numpy(),
        "cut up and put together wrongly": augment.shuffled(torch.from_numpy(grey.copy()), generator).numpy(),
        "flat, noise, clouds, stripes": torch.cat([augment.phantoms(20, generator) for _ in range(10)]).numpy(),
    }
    table = []
    for name, pictures in kinds.items():
        answers = served(np.ascontiguousarray(pictures))
        certain = answers.balanced.max(1)
        table.append(
            {
                "pictures": name,
                "n": len(pictures),
                f"under {limit}": float((certain < limit).mean()),
                "median of the likeliest class": float(np.median(certain)),
                "taken for covered": float((answers.occluded > covered).mean()),
            }
        )
    return table


def robustness_rows(served: Served, faces: Faces, rows: Rows) -> Table:
    """Return the accuracy over eight classes under FER+'s prior, for each fault and degree."""
    rows = rows[faces.majority[rows] >= 0][::ROBUSTNESS_STRIDE]
    truth = faces.majority[rows]
    table = []
    for fault, (function, degrees, meaning) in spoil.FAULTS.items():
        for degree in degrees:
            crops = np.stack([function(crop, degree) for crop in faces.grey[rows]])
            hit = served(crops).trained.argmax(1) == truth
            table.append({"fault": fault, "degree": degree, "meaning": meaning, "accuracy": float(hit.mean())})
    return table
