"""Numbers of a report: of one recording, of its stretches between markers, and of conditions."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.labels import EXPRESSIONS
from service.report.readings import NO_CONDITION, Floats, Readings, together

# Said to people; what the table calls them is in the data dictionary.
REASONS = {
    "no_face": "nobody in the picture",
    "stale": "no pictures came",
    "unreadable": "the picture could not be read",
    "turned_away": "turned away",
    "blurred": "blurred",
    "too_small": "too small",
    "too_dark": "too dark",
    "occluded": "covered in part",
    "unclear": "no expression that can be read",
    "not_in_model": "not given by this model",
    "not_read_yet": "before the model's first answer",
    "engine_failed": "the engine failed",
    "held": "lost for a moment, last value held",
}


@dataclass(frozen=True, slots=True)
class Moments:
    """Hold a mean over time, the standard deviation over time, and the mean deviation that the model states."""

    mean: float
    over_time: float
    stated: float

    @classmethod
    def of(cls, readings: Readings, name: str, where: NDArray[np.bool_]) -> "Moments":
        """Return the moments of `name` in the pictures `where`; NaN where nothing is known."""
        values = readings.columns[name][where]
        values = values[np.isfinite(values)]
        stds = readings.columns[f"{name}_std"][where]
        stds = stds[np.isfinite(stds)]
        if not len(values):
            return cls(np.nan, np.nan, np.nan)
        return cls(float(values.mean()), float(values.std()), float(stds.mean()) if len(stds) else np.nan)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Hold the numbers of some pictures of a recording.

    Attributes:
        label: What they are: the recording, a marker's label, a condition.
        seconds: How long they last together.
        read: Share of them in which a face was read, 0 to 1.
        valence: Moments of valence.
        arousal: Moments of arousal.
        expressions: Mean share of each expression; empty if none was read.
        units: Mean probability of each action unit that the model gives.
    """

    label: str
    seconds: float
    read: float
    valence: Moments
    arousal: Moments
    expressions: dict[str, float]
    units: dict[str, float]

    @property
    def likeliest(self) -> str:
        """Return the expression with the largest share; "" if none was read."""
        return max(self.expressions, key=lambda name: self.expressions[name]) if self.expressions else ""


def stretch(readings: Readings, label: str, where: NDArray[np.bool_] | None = None) -> Stretch:
    """Return the numbers of the pictures `where`, or of all."""
    where = np.ones(len(readings.t), bool) if where is None else where
    read = where & readings.read
    return Stretch(
        label,
        seconds=float(where.sum()) * period(readings),
        read=float(read.sum() / where.sum()) if where.any() else 0.0,
        valence=Moments.of(readings, "valence", read),
        arousal=Moments.of(readings, "arousal", read),
        expressions=_means(readings, {name: name for name in EXPRESSIONS}, read),
        units=_means(readings, {name: f"{name}_p" for name in readings.action_units()}, read),
    )


def between_markers(readings: Readings) -> list[Stretch]:
    """Return the numbers of each stretch that a marker begins, in the order of time; none without markers."""
    begins = readings.columns["last_marker_t"]
    labels = readings.texts["last_marker"]
    found = []
    for begin in np.unique(begins[np.isfinite(begins)]):
        where = np.asarray(begins == begin)
        found.append(stretch(readings, str(labels[where][0]), where))
    return found


def in_stimuli(readings: Readings) -> list[Stretch]:
    """Return the numbers of each stretch of a recording's stimuli that holds pictures, in the order of time."""
    found = []
    for start, end, label in sorted(readings.stimuli):
        where = np.asarray((readings.t >= start) & (readings.t < end))
        if where.any():
            found.append(stretch(readings, label, where))
    return found


def reasons(readings: Readings) -> list[tuple[str, float]]:
    """Return why pictures were not read, in words, with the share of each; the largest first."""
    counts: Counter[str] = Counter()
    for given, status in zip(
        readings.texts["reasons"][~readings.read], readings.texts["status"][~readings.read], strict=True
    ):
        first = str(given).partition(";")[0]
        if not first and status == "held":
            first = "held"
        counts[REASONS.get(first, first or "not said")] += 1
    return [(name, count / len(readings.t)) for name, count in counts.most_common()]


@dataclass(frozen=True, slots=True)
class Condition:
    """Hold a condition: the numbers of each participant in it, whose means count alike."""

    name: str
    participants: dict[str, Stretch]

    @property
    def seconds(self) -> float:
        """Return the length of all its pictures."""
        return sum(one.seconds for one in self.participants.values())

    @property
    def read(self) -> float:
        """Return the share of its pictures in which a face was read."""
        known = sum(one.seconds * one.read for one in self.participants.values())
        return known / self.seconds if self.seconds else 0.0

    @property
    def seen(self) -> int:
        """Return in how many participants a face was read."""
        return sum(one.read > 0 for one in self.participants.values())

    def mean(self, name: str) -> float:
        """Return the mean over participants of "valence" or "arousal"; NaN if nothing is known."""
        values = self.values(name)
        return float(np.mean(values)) if len(values) else np.nan

    def spread(self, name: str) -> float:
        """Return the standard deviation between participants; NaN with fewer than two."""
        values = self.values(name)
        return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan

    def values(self, name: str) -> Floats:
        """Return (p,) the mean of each participant in whom it is known."""
        values = np.array([getattr(one, name).mean for one in self.participants.values()], np.float64)
        return values[np.isfinite(values)]

    def shares(self, kind: str) -> dict[str, float]:
        """Return the mean over participants of each of their `kind`, "expressions" or "units"."""
        given = [getattr(one, kind) for one in self.participants.values() if getattr(one, kind)]
        names = dict.fromkeys(name for one in given for name in one)
        return {name: float(np.mean([one[name] for one in given if name in one])) for name in names}


def conditions(several: Sequence[Readings]) -> list[Condition]:
    """Return the conditions of `several` recordings, in the order in which they appear.

    All pictures of a participant in a condition are taken together, over recordings.
    """
    return [
        Condition(name, {who: _joined(several, who, name) for who in _participants(several, name)})
        for name in together(several)
        if name != NO_CONDITION
    ]


def _participants(several: Iterable[Readings], condition: str) -> list[str]:
    return list(dict.fromkeys(one.participant for one in several if (one.conditions == condition).any()))


def _joined(several: Sequence[Readings], participant: str, condition: str) -> Stretch:
    parts = [
        stretch(one, participant, np.asarray(one.conditions == condition))
        for one in several
        if one.participant == participant and (one.conditions == condition).any()
    ]
    weights = np.array([part.seconds * part.read for part in parts])
    total = weights.sum()

    def mean(values: Sequence[float]) -> float:
        known = np.isfinite(values) & (weights > 0)
        return float(np.average(np.array(values)[known], weights=weights[known])) if known.any() else np.nan

    def moments(name: str) -> Moments:
        given: list[Moments] = [getattr(part, name) for part in parts]
        middle = mean([one.mean for one in given])
        # The variance of all pictures: that within the recordings and that between them.
        over_time = float(np.sqrt(mean([one.over_time**2 + (one.mean - middle) ** 2 for one in given])))
        return Moments(middle, over_time, mean([one.stated for one in given]))

    seconds = sum(part.seconds for part in parts)
    return Stretch(
        participant,
        seconds,
        float(total / seconds) if seconds else 0.0,
        moments("valence"),
        moments("arousal"),
        {name: mean([part.expressions.get(name, np.nan) for part in parts]) for name in EXPRESSIONS} if total else {},
        {name: mean([part.units.get(name, np.nan) for part in parts]) for name in parts[0].units} if total else {},
    )


def _means(readings: Readings, columns: dict[str, str], where: NDArray[np.bool_]) -> dict[str, float]:
    found = {}
    for name, column in columns.items():
        values = readings.columns[column][where]
        values = values[np.isfinite(values)]
        if len(values):
            found[name] = float(values.mean())
    return found


def period(readings: Readings) -> float:
    """Return the seconds that one picture stands for."""
    return float(readings.t[-1] - readings.t[0]) / (len(readings.t) - 1) if len(readings.t) > 1 else 0.0
