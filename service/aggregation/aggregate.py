"""The step from estimates to the `faces` of an event: smoothing, windows, baseline and status; unknown is null."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.labels import COMPOUND_EXPRESSIONS, EXPRESSIONS
from service import metrics
from service.adapters.adapter import Estimate
from service.aggregation.baseline import Baseline
from service.aggregation.smooth import AffectFilter, ProbabilityFilter
from service.aggregation.status import Doubt, QualityGate
from service.aggregation.windows import EDGE, WINDOW_SECONDS, TrailingWindows
from service.neutral import NeutralStep, StepInProgress
from service.perception.face import Face
from service.perception.picture_size import Scale
from service.settings import Smoothing

# s for which a last value is repeated; perception gives a face that was away longer a new track.
HOLD_SECONDS = 1.0
# s without a face after which its track's state is dropped: the hold, and as much again for a late return.
FORGET_SECONDS = 2.0
# s for which it is remembered whether a face could be read; answers come later than their frame by up to a second, and
# with the published windows of the slow systems by five more.
GATE_MEMORY = 10.0
WINDOW_NAMES = tuple(f"{seconds:g}s" for seconds in WINDOW_SECONDS)
_NEUTRAL = EXPRESSIONS.index("neutral")
_AFFECT = 2  # columns of valence and arousal in the windows; those of the expressions follow
DIGITS = 4  # of affect: finer than any estimate, and seven rounded probabilities still sum to 1 within 0.001

Entry = dict[str, Any]
_UNKNOWN: Entry = {"valence": None, "arousal": None}


@dataclass
class _Track:
    """Hold the state of one face.

    Attributes:
        seen: Seconds, when the face was last in a frame.
        gated: Changes of whether the face could be read, as (seconds, whether it could not), oldest first.
        first: Seconds of the first estimate that was used.
        newest: Seconds of the last estimate that was used.
        arrived: Seconds at which that estimate came; a slow model, or one that looks back, gives it after `newest`.
        unread: Reasons for which the last estimate was not used; empty if it was.
        occluded: Probability in that estimate that the face is covered, 0 to 1; None if unknown.
        values: What the last estimate gave.
        missing: Reasons for what it did not give.
        last: The entry that went out last.
    """

    seen: float
    affect: AffectFilter
    expression: ProbabilityFilter
    gate: QualityGate = field(default_factory=QualityGate)
    doubt: Doubt = field(default_factory=Doubt)
    windows: TrailingWindows = field(default_factory=lambda: TrailingWindows(_AFFECT + len(EXPRESSIONS)))
    baseline: Baseline = field(default_factory=Baseline)
    gated: deque[tuple[float, bool]] = field(default_factory=deque)
    first: float | None = None
    newest: float | None = None
    arrived: float = 0.0
    unread: list[str] = field(default_factory=list)
    occluded: float | None = None
    values: Entry = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    last: Entry = field(default_factory=dict)

    def age(self, t: float) -> float:
        """Return the age in seconds, at `t`, of the picture that the last entry rests on."""
        if self.newest is None or self.last["status"] == "abstained":
            return t - self.seen
        return t - self.newest

    def note_gate(self, t: float, gated: bool) -> None:
        """Remember whether the face could not be read at `t` seconds, for estimates that come later."""
        if not self.gated or self.gated[-1][1] != gated:
            self.gated.append((t, gated))
        while len(self.gated) > 1 and t - self.gated[1][0] > GATE_MEMORY:
            self.gated.popleft()

    def was_gated(self, t: float) -> bool:
        """Return whether the face could not be read in the frame at `t` seconds, or in the last one before it."""
        return next((gated for since, gated in reversed(self.gated) if since <= t), False)


class Aggregator:
    """Turn the estimates of one session into the `faces` of its events. Driven by one thread.

    The result depends on nothing but what `update` was given, in that order.
    """

    def __init__(self, smoothing: Smoothing = "normal") -> None:
        """Begin without faces; `smoothing` says how strongly valence, arousal and expressions are smoothed."""
        self._smoothing = smoothing
        self._tracks: dict[int, _Track] = {}
        self._step: StepInProgress | None = None

    def update(
        self, t: float, faces: Sequence[Face], estimates: Mapping[int, Estimate], engine_failed: bool = False
    ) -> list[Entry]:
        """Return the event's `faces`: those of this frame, then those just lost.

        Args:
            t: Seconds on the session clock, which never goes back.
            faces: The faces of this frame.
            estimates: Estimates by track; without one that is newer than the last, the last value is held.
            engine_failed: Whether estimates are missing because the engine failed.
        """
        entries = [self._present(t, face, estimates.get(face.track), engine_failed) for face in faces]
        present = {face.track for face in faces}
        self._tracks = {number: track for number, track in self._tracks.items() if t - track.seen <= FORGET_SECONDS}
        lost = (track for number, track in self._tracks.items() if number not in present)
        return entries + [_lost(t, track) for track in lost if track.age(t) <= HOLD_SECONDS + EDGE]

    def reset_baseline(self) -> None:
        """Start the neutral baseline of every track anew, and end a neutral step without a result."""
        self._step = None
        for track in self._tracks.values():
            track.baseline.reset()
            # New dictionaries, because the old ones belong to entries that were returned.
            anew = {"from_baseline": _UNKNOWN, "baseline": track.baseline.entry()}
            track.values = {**track.values, **anew}
            track.last = {**track.last, **anew}

    def begin_neutral_step(self, t: float) -> None:
        """Begin the neutral step: what is read from `t` seconds on shows how the people in view look when neutral."""
        self._step = StepInProgress(t)

    def neutral_step(self, t: float) -> NeutralStep | None:
        """Return the neutral step as it is at `t` seconds, None without one; its result once, when its time is over.

        The faces that were read long enough have their baseline from it from then on.
        """
        step = self._step
        if step is None or not step.over(t):
            return None if step is None else step.now(t)
        self._step = None
        result = step.result()
        for face in result.faces:
            track = self._tracks.get(face.track)
            if track is not None and face.valence is not None and face.arousal is not None:
                track.baseline.set((face.valence, face.arousal), face.read_s)
        return result

    def scale(self, scale: Scale) -> None:
        """Convert the boxes of lost faces to the pixels of a picture with the same proportions and another size."""
        factors = (scale.x, scale.y, scale.x, scale.y)
        for track in self._tracks.values():
            box = [_rounded(x * factor, 1) for x, factor in zip(track.last["box"], factors, strict=True)]
            track.last = {**track.last, "box": box}

    def forget(self) -> None:
        """Forget all tracks: in a picture of other proportions, perception begins anew."""
        self._tracks.clear()

    def _present(self, t: float, face: Face, estimate: Estimate | None, engine_failed: bool) -> Entry:
        track = self._tracks.get(face.track)
        if track is None or t - track.seen > FORGET_SECONDS:
            track = self._tracks[face.track] = _Track(
                t, AffectFilter(self._smoothing), ProbabilityFilter(self._smoothing)
            )
        track.seen = t
        reasons = track.gate(face)
        track.note_gate(t, bool(reasons))
        new = estimate is not None and (track.newest is None or estimate.t > track.newest)
        # A late answer about a frame in which the face could not be read is of no more use than one that came at once.
        used = new and estimate is not None and not track.was_gated(estimate.t) and _take(t, track, estimate)
        if used and self._step is not None and estimate is not None:
            valence, arousal = _clipped(estimate.valence), _clipped(estimate.arousal)
            if valence is not None and arousal is not None:
                expression = estimate.expression
                looks_neutral = None if expression is None else int(expression.argmax()) == _NEUTRAL
                self._step.push(face.track, estimate.t, valence, arousal, looks_neutral)
        if reasons or track.unread:
            track.last = _abstained(t, track, face, reasons or track.unread)
        elif used:
            assert track.newest is not None
            status = "warming_up" if _warming(track) else "ok"
            track.last = _entry(face, status, track.missing, t - track.newest, track.values)
        elif track.newest is not None and t - track.arrived <= HOLD_SECONDS + EDGE:
            held = [*track.missing, "engine_failed"] if engine_failed else track.missing
            track.last = _entry(face, "held", held, t - track.newest, track.values)
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
    """Return an entry without values but the windows, which describe the past and slide on."""
    for reason in reasons:
        metrics.ABSTENTIONS.labels(reason).inc()
    track.windows.advance(t)
    values: Entry = {
        "valence": None,
        "arousal": None,
        "raw": _UNKNOWN,
        "std": _UNKNOWN,
        "from_baseline": _UNKNOWN,
        "baseline": track.baseline.entry(),
        "expression": None,
        "aus": {},
        "intensities": {},
        "intensity_std": {},
        "occluded": _part(track.occluded) if "occluded" in reasons else None,
        "windows": _windows(track, t),
    }
    return _entry(face, "abstained", reasons, t - face.t, values)


def _lost(t: float, track: _Track) -> Entry:
    """Return the last entry once more, for a face that is not in this frame."""
    status = "abstained" if track.last["status"] == "abstained" else "held"
    return {**track.last, "status": status, "age_ms": _milliseconds(track.age(t))}


def _take(t: float, track: _Track, estimate: Estimate) -> bool:
    """Take an estimate that came at `t` seconds, and return whether its values may be shown; `unread` tells why not."""
    track.unread = track.doubt(estimate.certainty, estimate.occluded) if _finite(estimate) else ["engine_failed"]
    track.occluded = estimate.occluded
    if track.unread:
        return False
    track.arrived = t
    _read(track, estimate)
    return True


def _read(track: _Track, estimate: Estimate) -> None:
    """Take a finite estimate into the track's state and `values`."""
    valence, arousal = _clipped(estimate.valence), _clipped(estimate.arousal)
    row = np.full(_AFFECT + len(EXPRESSIONS), np.nan)
    row[:_AFFECT] = [np.nan if x is None else x for x in (valence, arousal)]
    expression = None
    if estimate.expression is not None:
        row[_AFFECT:] = given = _distribution(estimate.expression)
        expression = _expression(track.expression(estimate.t, given), estimate.other)
    track.windows.push(estimate.t, row)
    if valence is not None and arousal is not None:
        shares = row[_AFFECT:]
        looks_neutral = expression is not None and int(shares.argmax()) == _NEUTRAL
        track.baseline.push(
            estimate.t, valence, arousal, float(shares[_NEUTRAL]) if looks_neutral else None,
            can_tell=expression is not None,
        )  # fmt: skip
    track.first = estimate.t if track.first is None else track.first
    track.newest = estimate.t
    smooth = track.affect(estimate.t, valence, arousal)
    rest = track.baseline.value or (None, None)
    track.values = {
        "valence": _number(smooth[0]),
        "arousal": _number(smooth[1]),
        "raw": _pair(valence, arousal) if estimate.raw is None else _pair(*map(_clipped, estimate.raw)),
        "std": _UNKNOWN if estimate.std is None else _pair(*map(_about, estimate.std, smooth, (valence, arousal))),
        "from_baseline": _pair(*map(_difference, smooth, rest)),
        "baseline": track.baseline.entry(),
        "expression": expression,
        "aus": {name: round(min(max(p, 0.0), 1.0), DIGITS) + 0.0 for name, p in estimate.aus.items()},
        "intensities": {name: round(min(max(x, 0.0), 5.0), 2) + 0.0 for name, x in estimate.intensities.items()},
        "intensity_std": {name: round(x, 2) + 0.0 for name, x in estimate.intensity_std.items()},
        "occluded": _part(estimate.occluded),
        "windows": _windows(track, estimate.t),
    }
    if estimate.compound is not None:
        scores = (np.round(estimate.compound.astype(float), DIGITS) + 0.0).tolist()
        track.values["compound"] = dict(zip(COMPOUND_EXPRESSIONS, scores, strict=True))
    if estimate.openface is not None:
        track.values["openface"] = {name: round(x, 2) + 0.0 for name, x in estimate.openface.items()}
    complete = valence is not None and arousal is not None and estimate.std and expression and estimate.aus
    track.missing = [] if complete else ["not_in_model"]


def _warming(track: _Track) -> bool:
    """Return whether windows are not complete yet. A baseline may never come: a face need not ever look neutral."""
    return None in track.values["windows"].values()


def _windows(track: _Track, t: float) -> Entry:
    """Return each window once the track has been read for that long, of the columns that have values in it."""
    read = -1.0 if track.first is None else t - track.first
    if read < WINDOW_SECONDS[0] - EDGE:
        return dict.fromkeys(WINDOW_NAMES)
    found = track.windows.statistics()
    shown = np.stack([found.mean, found.std, found.range, found.slope], axis=-1)[:, :_AFFECT]
    numbers = (np.round(shown, DIGITS) + 0.0).tolist()  # windows, columns, statistics
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
    values = (np.round(probabilities, DIGITS) + 0.0).tolist()
    entry: Entry = {
        "label": EXPRESSIONS[int(probabilities.argmax())],
        "probabilities": dict(zip(EXPRESSIONS, values, strict=True)),
    }
    if other is not None:
        entry["other"] = _rounded(min(max(other, 0.0), 1.0), DIGITS)
    return entry


def _finite(estimate: Estimate) -> bool:
    """Return whether all that the model gave are finite numbers, and the expressions a distribution."""
    single = (estimate.valence, estimate.arousal, estimate.other, estimate.certainty, estimate.occluded)
    # A sum is finite only if all that it adds is.
    total = sum(x for x in (*single, *(estimate.std or ()), *(estimate.raw or ())) if x is not None)
    for named in (estimate.aus, estimate.intensities, estimate.intensity_std, estimate.openface):
        total += sum(named.values()) if named else 0.0
    if not isfinite(total):
        return False
    expression = estimate.expression
    if expression is not None and not (np.isfinite(expression).all() and expression.max() > 0.0):
        return False
    return estimate.compound is None or bool(np.isfinite(estimate.compound).all())


def _distribution(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.maximum(probabilities.astype(float), 0.0)
    values /= values.sum()
    return values


def _about(std: float, published: float | None, given: float | None) -> float:
    """Return the deviation of the truth about the published value, of `std` about the value that the model gave."""
    return std if published is None or given is None else hypot(std, published - given)


def _clipped(x: float | None) -> float | None:
    return None if x is None else min(max(float(x), -1.0), 1.0)


def _difference(x: float | None, rest: float | None) -> float | None:
    return None if x is None or rest is None else x - rest


def _pair(valence: float | None, arousal: float | None) -> Entry:
    return {"valence": _number(valence), "arousal": _number(arousal)}


def _part(x: float | None) -> float | None:
    return None if x is None else _rounded(min(max(x, 0.0), 1.0), DIGITS)


def _number(x: float | None) -> float | None:
    return None if x is None else _rounded(x, DIGITS)


def _rounded(x: float, digits: int) -> float:
    return round(float(x), digits) + 0.0  # no -0.0, which would be one value in two spellings


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e3))
