"""The session clock: media time, which jumps and drifts, becomes session time, which rises."""

from collections import deque

from service import metrics

AHEAD = 0.5  # seconds: a stamp that leaps this much further than the wall clock went on is out of line
BACK = 0.6  # seconds: a stamp that falls further behind than this is out of line; more than `AHEAD`, so that what leapt
# by less than that and was believed can fall back
_AGREE = 3  # stamps in a row that must agree before a new timeline is believed
_NEAR = 0.5  # seconds within which they agree
_STEP = 1e-3  # seconds: the least distance between pictures whose stamps do not rise
_WINDOW = 5.0  # seconds: delay is what the quickest arrival within such a window took
_TOLERANCE = 0.05  # seconds of drift that are left alone
_SLEW = 0.01  # seconds that the clock is moved by in a second while it drifts; a drift of 0.2 % needs a fifth of it


class Timeline:
    """Decide which stamps of one kind of media to believe."""

    def __init__(self) -> None:
        self._candidates: list[float] = []  # offsets that the last stamps out of line would need

    def in_line(self) -> None:
        """Note that a stamp was in line; what was out of line before it is counted as wrong."""
        if self._candidates:
            metrics.CLOCK_CORRECTIONS.labels("outlier").inc(len(self._candidates))
            self._candidates.clear()

    def believed(self, offset: float) -> bool:
        """Return whether `_AGREE` stamps in a row agree on `offset`, the newest's, and count a new timeline if so."""
        if self._candidates and abs(self._candidates[-1] - offset) > _NEAR:
            metrics.CLOCK_CORRECTIONS.labels("outlier").inc(len(self._candidates))
            self._candidates.clear()
        self._candidates.append(offset)
        if len(self._candidates) < _AGREE:
            return False
        self._candidates.clear()
        metrics.CLOCK_CORRECTIONS.labels("timeline").inc()
        return True


class Drift:
    """Measure how the delay from a sender's clock to arrival changes, by the quickest arrival of each window."""

    def __init__(self) -> None:
        self._window: deque[tuple[float, float]] = deque()  # (arrival, delay), delays rising
        self._reference: float | None = None  # seconds of delay that the clock is held at
        self._began: float | None = None
        self._moved = 0.0  # arrival at which the clock was last moved

    def begin(self) -> None:
        """Forget the delays of a timeline that ended."""
        self._window.clear()
        self._reference = self._began = None

    def leapt(self, t: float, arrival: float) -> bool:
        """Return whether an item of session time `t` came at `arrival` earlier than any of the last seconds could.

        One that was late, and has caught up, did not leap.
        """
        return t > arrival - (self._window[0][1] if self._window else 0.0) + AHEAD

    def observe(self, t: float, arrival: float) -> None:
        """Note that an item of session time `t` came at `arrival`."""
        delay = arrival - t
        while self._window and self._window[-1][1] >= delay:
            self._window.pop()
        self._window.append((arrival, delay))
        while self._window[0][0] < arrival - _WINDOW:
            self._window.popleft()
        if self._began is None:
            self._began = self._moved = arrival

    def correction(self, arrival: float) -> float:
        """Return seconds to add to the clock at `arrival`, after `observe`; usually 0."""
        if self._began is None or arrival - self._began < _WINDOW:
            return 0.0
        quickest = self._window[0][1]
        if self._reference is None:
            self._reference = quickest
        drift = quickest - self._reference
        elapsed, self._moved = max(0.0, arrival - self._moved), arrival
        if abs(drift) <= _TOLERANCE:
            return 0.0
        metrics.CLOCK_SLEWED.inc(min(abs(drift), _SLEW * elapsed))
        step = max(-_SLEW * elapsed, min(_SLEW * elapsed, drift))
        self._window = deque((at, late - step) for at, late in self._window)
        return step


class SessionClock:
    """Place pictures and sound of consecutive runs (connections, rounds of a loop) on one rising clock.

    Both kinds share one offset, so that they stay as synchronous as they were sent; pictures that begin behind a live
    stream's sound are placed by their arrival, because their times would otherwise lie before the beginning. A stamp
    out of line is not believed: its item is placed where it was expected, until several stamps agree on a new timeline.
    In live streams the clock follows arrival slowly where the sender's clock runs faster or slower.
    """

    def __init__(self) -> None:
        self.end = 0.0  # seconds, session time up to which pictures and sound have come
        self._offset: float | None = None  # session time - media time; None until a run's first item
        self._begins = 0.0
        self._behind = 0.0  # seconds added to pictures alone, because their stamps are behind those of the sound
        self._last: dict[str, float] = {}  # by kind: session time of the last item (of its end, for sound)
        self._arrived: dict[str, float] = {}  # by kind: wall clock of the last item
        self._steps: dict[str, float] = {}  # by kind: seconds from the last but one item in line to the last
        self._timelines = {"picture": Timeline(), "sound": Timeline()}
        self._drift = Drift()

    @property
    def run(self) -> float:
        """Return the seconds that the present run has lasted."""
        return self.end - self._begins

    def begin(self, at: float, media_start: float | None = None) -> None:
        """Begin a new run: `media_start` (None: its first item) falls on `at` seconds, or on `end` if that is later."""
        self._begins = max(at, self.end)
        self._offset = None if media_start is None else self._begins - media_start
        self._behind = 0.0
        self._last.clear()
        self._arrived.clear()
        self._steps.clear()
        self._timelines = {"picture": Timeline(), "sound": Timeline()}
        self._drift.begin()

    def picture(self, seconds: float | None, period: float, elapsed: float | None = None) -> float:
        """Return the session time of a picture at media time `seconds` (None: `period` after the last one).

        Rises strictly. `elapsed`: for live streams, session time by the wall clock.
        """
        last = self._last.get("picture")
        t = self._place("picture", seconds, last, period, elapsed)
        if last is not None and t <= last:
            t = last + _STEP
        self._last["picture"] = t
        self.end = max(self.end, t + period)
        return t

    def sound(self, seconds: float | None, duration: float, elapsed: float | None = None) -> float:
        """Return the session time of sound that begins at media time `seconds` (None: where the last sound ended)."""
        last = self._last.get("sound")
        t = self._place("sound", seconds, last, 0.0, elapsed)
        self._last["sound"] = t + duration
        self.end = max(self.end, t + duration)
        return t

    def _place(
        self, kind: str, seconds: float | None, last: float | None, period: float, elapsed: float | None
    ) -> float:
        expected = self._begins if last is None else last + period
        if elapsed is not None:
            since = max(0.0, elapsed - self._arrived.get(kind, elapsed))
            self._arrived[kind] = elapsed
        else:
            since = 0.0
        if seconds is None:
            return expected
        if self._offset is None:
            self._offset = self._begins - seconds
        own = self._behind if kind == "picture" else 0.0
        t = seconds + self._offset + own
        if kind == "picture" and last is None and elapsed is not None and t < self._begins:
            due = max(self._begins, min(self.end, elapsed))
            if due - t > AHEAD:
                self._behind = due - t
            else:
                self._offset += due - t
            t = due
        back = last is not None and t < last - BACK
        # Recordings may pause for long between two pictures; live streams may only as long as nothing arrives.
        jumped = last is not None and t > last + max(period, self._steps.get(kind, 0.0)) + AHEAD
        leap = jumped and elapsed is not None and self._drift.leapt(t, elapsed)
        if not (back or leap):
            self._timelines[kind].in_line()
            if last is not None:
                self._steps[kind] = max(0.0, t - last)
            if elapsed is not None and (kind == "picture" or "picture" not in self._last):
                self._drift.observe(t, elapsed)
                self._offset += self._drift.correction(elapsed)
            return t
        due = last + max(period, since) if last is not None else expected
        if self._timelines[kind].believed(due - seconds):
            self._offset = due - seconds - own
            self._drift.begin()
        return due
