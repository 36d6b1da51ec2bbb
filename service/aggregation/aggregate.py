"""From estimates to the `faces` of an event: smoothed, with windows, baseline and status; null where not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.labels import COMPOUND_EXPRESSIONS, EXPRESSIONS
from service import metrics
from service.aggregation.baseline import Baseline
from service.aggregation.smooth import AffectFilter, ProbabilityFilter
from service.aggregation.status import Doubt, QualityGate
from service.aggregation.windows import EDGE, WINDOW_SECONDS, TrailingWindows
from service.inference.estimate import Estimate
from service.perception.face import Face

# s that a last value is repeated for; perception gives a face that was away longer a new track.
HOLD_SECONDS = 1.0
# s without a face after which its track's state is dropped: the hold, and as much again for a late return.
FORGET_SECONDS = 2.0
WINDOW_NAMES = tuple(f"{seconds:g}s" for seconds in WINDOW_SECONDS)
_AFFECT = 2  # columns of valence and arousal in the windows; those of the expressions follow
_DIGITS = 4  # of affect: finer than any estimate, and seven rounded probabilities still sum to 1 within 0.001

Entry = dict[str, Any]
_UNKNOWN: Entry = {"valence": None, "arousal": None}


@dataclass
class _Track:
    """State of one face."""

    seen: float  # s, when the face was last in a frame
    gate: QualityGate = field(default_factory=QualityGate)
    doubt: Doubt = field(default_factory=Doubt)
    windows: TrailingWindows = field(default_factory=lambda: TrailingWindows(_AFFECT + len(EXPRESSIONS)))
    baseline: Baseline = field(default_factory=Baseline)
    affect: AffectFilter = field(default_factory=AffectFilter)
    expression: ProbabilityFilter = field(default_factory=ProbabilityFilter)
    first: float | None = None  # s, of the first estimate used
    newest: float | None = None  # s, of the last estimate used
    read: float = 0.0  # s, when that estimate came; models that look back or are slow give it later than `newest`
    values: Entry = field(default_factory=dict)  # what the last estimate gave
    missing: list[str] = field(default_factory=list)  # reasons for what it did not give
    last: Entry = field(default_factory=dict)  # the entry that went out last

    def age(self, t: float) -> float:
        """Age in seconds, at `t`, of the picture that the last entry rests on."""
        if self.newest is None or self.last["status"] == "abstained":
            return t - self.seen
        return t - self.newest


class Aggregator:
    """Affect of all tracks of one session. Driven by one thread; depends on nothing but what `update` was given."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    def update(
        self, t: float, faces: Sequence[Face], estimates: Mapping[int, Estimate], engine_failed: bool = False
    ) -> list[Entry]:
        """The event's `faces` at `t` seconds (which never goes back): those of this frame, then those just lost.

        `estimates`: by track; where there is none, or none newer than the last, the last value is held.
        `engine_failed`: there are none because the engine failed.
        """
        entries = [self._present(t, face, estimates.get(face.track), engine_failed) for face in faces]
        present = {face.track for face in faces}
        self._tracks = {number: track for number, track in self._tracks.items() if t - track.seen <= FORGET_SECONDS}
        lost = (track for number, track in self._tracks.items() if number not in present)
        return entries + [_lost(t, track) for track in lost if track.age(t) <= HOLD_SECONDS + EDGE]

    def reset_baseline(self) -> None:
        """Starts the neutral baseline of every track anew."""
        for track in self._tracks.values():
            track.baseline.reset()
            # New dictionaries: the old ones have gone out.
            track.values = {**track.values, "from_baseline": _UNKNOWN}
            track.last = {**track.last, "from_baseline": _UNKNOWN}

    def _present(self, t: float, face: Face, estimate: Estimate | None, engine_failed: bool) -> Entry:
        track = self._tracks.get(face.track)
        if track is None or t - track.seen > FORGET_SECONDS:
            track = self._tracks[face.track] = _Track(seen=t)
        track.seen = t
        reasons = track.gate(face)
        if reasons:
            track.last = _abstained(t, track, face, reasons)
        elif estimate is not None and (track.newest is None or estimate.t > track.newest):
            if track.doubt(estimate.certainty):
                track.last = _abstained(t, track, face, ["unclear"])
            elif _finite(estimate):
                track.read = t
                _read(track, estimate)
                status = "warming_up" if _warming(track) else "ok"
                track.last = _entry(face, status, track.missing, t - estimate.t, track.values)
            else:
                track.last = _abstained(t, track, face, ["engine_failed"])
        elif track.newest is not None and t - track.read <= HOLD_SECONDS + EDGE:
            reasons = [*track.missing, "engine_failed"] if engine_failed else track.missing
            track.last = _entry(face, "held", reasons, t - track.newest, track.values)
        else:  # once its reasons are gone, a face stays unread until the next estimate
            before = track.last.get("reasons", []) if track.last.get("status") == "abstained" else []
            unread = "not_read_yet" if track.newest is None and not engine_failed else "engine_failed"
            track.last = _abstained(t, track, face, before or [unread])
        return track.last


def _entry(face: Face, status: str, reasons: list[str], age: float, values: Entry) -> Entry:
    return {
        "track": face.track,
        "status": status,
        "reasons": reasons,
        "age_ms": _milliseconds(age),
        "box": [_rounded(x, 1) for x in face.box],
        "confidence": _rounded(min(max(face.confidence, 0.0), 1.0), 3),
        "head_pose": {
            "pitch": _rounded(face.head_pose.pitch, 2),
            "yaw": _rounded(face.head_pose.yaw, 2),
            "roll": _rounded(face.head_pose.roll, 2),
        },
        **values,
    }


def _abstained(t: float, track: _Track, face: Face, reasons: list[str]) -> Entry:
    """No values but the windows, which tell of the past; they slide on."""
    for reason in reasons:
        metrics.ABSTENTIONS.labels(reason).inc()
    track.windows.advance(max(t, track.windows.newest))
    values: Entry = {
        "valence": None,
        "arousal": None,
        "raw": _UNKNOWN,
        "std": _UNKNOWN,
        "from_baseline": _UNKNOWN,
        "expression": None,
        "aus": {},
        "windows": _windows(track, t),
    }
    return _entry(face, "abstained", reasons, t - face.t, values)


def _lost(t: float, track: _Track) -> Entry:
    """The last entry once more, for a face that is not in this frame."""
    status = "abstained" if track.last["status"] == "abstained" else "held"
    return {**track.last, "status": status, "age_ms": _milliseconds(track.age(t))}


def _read(track: _Track, estimate: Estimate) -> None:
    """Takes a finite estimate into the track's state and `values`."""
    valence, arousal = _clipped(estimate.valence), _clipped(estimate.arousal)
    row = np.full(_AFFECT + len(EXPRESSIONS), np.nan)
    row[:_AFFECT] = [np.nan if x is None else x for x in (valence, arousal)]
    expression = None
    if estimate.expression is not None:
        row[_AFFECT:] = given = _distribution(estimate.expression)
        expression = _expression(track.expression(estimate.t, given), estimate.other)
    track.windows.push(max(estimate.t, track.windows.newest), row)
    if valence is not None and arousal is not None:
        track.baseline.push(estimate.t, valence, arousal, None if expression is None else float(row[_AFFECT]))
    track.first = estimate.t if track.first is None else track.first
    track.newest = estimate.t
    smooth = track.affect(estimate.t, valence, arousal)
    rest = track.baseline.value or (None, None)
    track.values = {
        "valence": _number(smooth[0]),
        "arousal": _number(smooth[1]),
        "raw": _pair(valence, arousal) if estimate.raw is None else _pair(*map(_clipped, estimate.raw)),
        "std": _UNKNOWN if estimate.std is None else _pair(*estimate.std),
        "from_baseline": _pair(*map(_difference, smooth, rest)),
        "expression": expression,
        "aus": {name: round(min(max(p, 0.0), 1.0), _DIGITS) + 0.0 for name, p in estimate.aus.items()},
        "windows": _windows(track, estimate.t),
    }
    if estimate.compound is not None:
        scores = (np.round(estimate.compound.astype(float), _DIGITS) + 0.0).tolist()
        track.values["compound"] = dict(zip(COMPOUND_EXPRESSIONS, scores, strict=True))
    complete = valence is not None and arousal is not None and estimate.std and expression and estimate.aus
    track.missing = [] if complete else ["not_in_model"]


def _warming(track: _Track) -> bool:
    """Whether windows or baseline, of what the model gives, are still to come."""
    no_baseline = track.baseline.value is None and None not in track.values["raw"].values()
    return no_baseline or None in track.values["windows"].values()


def _windows(track: _Track, t: float) -> Entry:
    """Each window once the track has been read for that long, of the columns that have values in it."""
    read = -1.0 if track.first is None else t - track.first
    if read < WINDOW_SECONDS[0] - EDGE:
        return dict.fromkeys(WINDOW_NAMES)
    found = track.windows.statistics()
    shown = np.stack([found.mean, found.std, found.range, found.slope], axis=-1)[:, :_AFFECT]
    numbers = (np.round(shown, _DIGITS) + 0.0).tolist()  # windows, columns, statistics
    counts = found.count.tolist()
    windows: Entry = {}
    for w, (name, seconds) in enumerate(zip(WINDOW_NAMES, WINDOW_SECONDS, strict=True)):
        if read < seconds - EDGE or not any(counts[w]):
            windows[name] = None
            continue
        statistics = [
            dict(zip(("mean", "std", "range", "slope"), numbers[w][column], strict=True)) if counts[w][column] else None
            for column in range(_AFFECT)
        ]
        label = EXPRESSIONS[int(found.mean[w, _AFFECT:].argmax())] if counts[w][_AFFECT] else None
        windows[name] = {"valence": statistics[0], "arousal": statistics[1], "expression": label}
    return windows


def _expression(probabilities: NDArray[np.float64], other: float | None) -> Entry:
    values = (np.round(probabilities, _DIGITS) + 0.0).tolist()
    entry: Entry = {
        "label": EXPRESSIONS[int(probabilities.argmax())],
        "probabilities": dict(zip(EXPRESSIONS, values, strict=True)),
    }
    if other is not None:
        entry["other"] = _rounded(min(max(other, 0.0), 1.0), _DIGITS)
    return entry


def _finite(estimate: Estimate) -> bool:
    """Whether every number that the model gave is one."""
    given = [estimate.valence, estimate.arousal, estimate.other, *(estimate.std or ()), *estimate.aus.values()]
    if not all(isfinite(x) for x in given if x is not None):
        return False
    expression = estimate.expression
    if expression is not None and not (np.isfinite(expression).all() and expression.max() > 0.0):
        return False
    return estimate.compound is None or bool(np.isfinite(estimate.compound).all())


def _distribution(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.maximum(probabilities.astype(float), 0.0)
    values /= values.sum()
    return values


def _clipped(x: float | None) -> float | None:
    return None if x is None else min(max(float(x), -1.0), 1.0)


def _difference(x: float | None, rest: float | None) -> float | None:
    return None if x is None or rest is None else x - rest


def _pair(valence: float | None, arousal: float | None) -> Entry:
    return {"valence": _number(valence), "arousal": _number(arousal)}


def _number(x: float | None) -> float | None:
    return None if x is None else _rounded(x, _DIGITS)


def _rounded(x: float, digits: int) -> float:
    return round(float(x), digits) + 0.0  # no -0.0, which would be one value in two spellings


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e3))
