"""From media time, which jumps when streams restart, to session time, which never goes back."""

_BACK = 0.5  # seconds: stamps that fall further behind than this belong to a stream that began anew
_AHEAD = 10.0  # seconds: stamps of a live stream this far ahead of the wall clock, by a jump, likewise
_STEP = 1e-3  # seconds: the least distance between pictures whose stamps do not rise


class SessionClock:
    """Places pictures and sound of consecutive runs (connections, rounds of a loop) on one rising clock.

    Both kinds share one offset, so that they stay as synchronous as they were sent.
    """

    def __init__(self) -> None:
        self.end = 0.0  # seconds, session time up to which pictures and sound have come
        self._offset: float | None = None  # session time - media time; None until a run's first item
        self._begins = 0.0
        self._last: dict[str, float] = {}

    @property
    def run(self) -> float:
        """Seconds that the present run has lasted."""
        return self.end - self._begins

    def begin(self, at: float, media_start: float | None = None) -> None:
        """A new run: `media_start` (None: its first item) falls on `at` seconds, or on `end` if that is later."""
        self._begins = max(at, self.end)
        self._offset = None if media_start is None else self._begins - media_start
        self._last.clear()

    def picture(self, seconds: float | None, period: float, elapsed: float | None = None) -> float:
        """Session time of a picture at media time `seconds` (None: `period` after the last one). Rises strictly.

        `elapsed`: for live streams, session time by the wall clock.
        """
        last = self._last.get("picture")
        t = self._place("picture", seconds, last, period, elapsed)
        if last is not None and t <= last:
            t = last + _STEP
        self._last["picture"] = t
        self.end = max(self.end, t + period)
        return t

    def sound(self, seconds: float | None, duration: float, elapsed: float | None = None) -> float:
        """Session time of sound that begins at media time `seconds` (None: where the last sound ended)."""
        last = self._last.get("sound")
        t = self._place("sound", seconds, last, 0.0, elapsed)
        self._last["sound"] = t + duration
        self.end = max(self.end, t + duration)
        return t

    def _place(
        self, kind: str, seconds: float | None, last: float | None, period: float, elapsed: float | None
    ) -> float:
        expected = self._begins if last is None else last + period
        if seconds is None:
            return expected
        if self._offset is None:
            self._offset = self._begins - seconds
        t = seconds + self._offset
        back = last is not None and t < last - _BACK
        ahead = elapsed is not None and t > elapsed + _AHEAD and (last is None or t > last + 1.0)
        if back or ahead:
            self._offset += (max(expected, elapsed) if elapsed is not None else expected) - t
            t = seconds + self._offset
        return t
