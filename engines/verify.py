"""The comparison of an engine with its float32 reference, in the users' units, before the engine serves.

All limits are in this file. Outputs are recognised by their names: "valence_arousal" (N, 2), "expression" logits or
probabilities (N, classes), "aus" logits (N, units), "intensities" (N, units) and "occluded" (N, 1) by their absolute
error. Any other output is compared by its relative error.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.engine import SOUND_EMBEDDING, Arrays, Engine, require_finite

MAX_VA_ERROR = 0.10  # of valence and arousal, which span [-1, 1]
MIN_VA_CCC = 0.99  # concordance with the reference, each of valence and arousal
MIN_TOP_EXPRESSION = 0.97  # share of samples whose most likely expression is the reference's
MIN_AU_F1 = 0.95  # of "present at 0.5", over all units, with the reference as truth
MAX_INTENSITY_ERROR = 0.25  # root mean square over all units, of intensities of 0 to 5
MAX_OCCLUDED_ERROR = 0.1  # root mean square, of a probability
MAX_RELATIVE_ERROR = 0.05  # root mean square of the difference over that of the reference, other outputs
_TIE = 0.05  # margin (logits or probabilities) below which the reference's own decision counts as undecided
# Outputs that are often near zero.
ABSOLUTE = {"intensities": MAX_INTENSITY_ERROR, "occluded": MAX_OCCLUDED_ERROR, "ferplus": MAX_OCCLUDED_ERROR}
AT_ONCE = 8  # samples in a call
_MIN_VARIED = 8  # samples that a concordance needs to mean anything
_MIN_STD = 0.02  # standard deviation of the reference below which a concordance would measure noise


@dataclass(frozen=True, slots=True)
class Comparison:
    """Hold how far an engine is from its reference on so many `samples`; `excess` names the broken limits, or None."""

    samples: int
    values: dict[str, float]
    excess: str | None

    def __str__(self) -> str:
        return ", ".join(f"{k} {v:.4g}" for k, v in self.values.items())


def compare(
    reference: Engine, candidate: Engine, probe: Mapping[str, NDArray[np.generic]], batch: int = AT_ONCE
) -> Comparison:
    """Return the figures of `candidate` against `reference` on the inputs `probe` (by name, batch along axis 0).

    The candidate is given `batch` rows at a time. Raise `EngineError` where an output holds NaN or Inf.
    """
    expected, found = _outputs(reference, probe, AT_ONCE), _outputs(candidate, probe, batch)
    require_finite(expected, "The fp32 reference")
    require_finite(found, f"The engine {candidate.name}:{candidate.precision}")
    samples = len(next(iter(probe.values())))
    values: dict[str, float] = {}
    broken: list[str] = []

    def note(what: str, value: float, limit: float, *, at_least: bool) -> None:
        values[what] = value
        if (value < limit) if at_least else (value > limit):
            broken.append(f"{what} {value:.4g}, {'at least' if at_least else 'at most'} {limit:g} is allowed")

    for name in expected:
        if name == SOUND_EMBEDDING:
            continue  # the outputs that are computed from it are compared
        a = np.asarray(expected[name], np.float64).reshape(samples, -1)
        b = np.asarray(found[name], np.float64).reshape(samples, -1)
        if name == "valence_arousal":
            note("valence/arousal error", float(np.abs(a - b).max()), MAX_VA_ERROR, at_least=False)
            for column, label in enumerate(("valence", "arousal")):
                if samples >= _MIN_VARIED and a[:, column].std() >= _MIN_STD:
                    note(f"{label} CCC", concordance(a[:, column], b[:, column]), MIN_VA_CCC, at_least=True)
        elif name == "expression":
            same = a.argmax(1) == b.argmax(1)
            top = np.sort(a, 1)[:, -2:]
            note(
                "top expression",
                float((same | (top[:, 1] - top[:, 0] < _TIE)).mean()),
                MIN_TOP_EXPRESSION,
                at_least=True,
            )
            values |= _lowest_ccc("expression CCC", a, b)
        elif name == "aus":
            if a.shape[1]:
                present = a > 0
                note("AU F1", _f1(present, np.where(np.abs(a) < _TIE, present, b > 0)), MIN_AU_F1, at_least=True)
                values |= _lowest_ccc("AU CCC", a, b)
        elif name in ABSOLUTE:
            error = float(np.sqrt(((a - b) ** 2).mean()))
            note(f"{name} error", error, ABSOLUTE[name], at_least=False)
        else:
            scale = max(float(np.sqrt((a**2).mean())), 1e-12)
            note(
                f"{name} relative error",
                float(np.sqrt(((a - b) ** 2).mean())) / scale,
                MAX_RELATIVE_ERROR,
                at_least=False,
            )
    return Comparison(samples, values, "; ".join(broken) or None)


def _outputs(engine: Engine, probe: Mapping[str, NDArray[np.generic]], batch: int) -> Arrays:
    """Return the outputs for all rows of `probe`, which the engine is given `batch` rows at a time."""
    rows = len(next(iter(probe.values())))
    parts = [engine({k: v[i : i + batch] for k, v in probe.items()}) for i in range(0, rows, batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _lowest_ccc(what: str, a: NDArray[np.float64], b: NDArray[np.float64]) -> dict[str, float]:
    """Return the lowest concordance of the columns that vary under the name `what`, or nothing if none varies.

    It is information without a limit, because classes and units are judged by their decisions.
    """
    varied = np.flatnonzero(a.std(0) >= _MIN_STD)
    found = [concordance(a[:, column], b[:, column]) for column in varied if len(a) >= _MIN_VARIED]
    return {what: min(found)} if found else {}


def concordance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the concordance correlation coefficient (Lin 1989) in its population form; 1 if both are constant."""
    spread = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(2 * ((a - a.mean()) * (b - b.mean())).mean() / spread) if spread else 1.0


def _f1(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Return the F1 score over all elements; 1 if nothing is present in either."""
    hits = int((truth & found).sum())
    wrong = int((truth ^ found).sum())
    return 2 * hits / (2 * hits + wrong) if hits + wrong else 1.0
