"""One clock for the tracks of a WebRTC peer: RTP timestamps, arrival and RTCP sender reports to session seconds.

Each track counts from a random origin of its own. Arrival places both on the session clock at first, to within the
network's and the jitter buffers' delay; sender reports (RFC 3550, 6.4.1) say which moment of the sender's wall clock
a timestamp stands for, and so put sound and picture exactly where they were captured. The picture is the reference:
its times never jump, the sound is moved to it.
"""

from service.capture.clock import AHEAD, BACK, Drift, Timeline

MAX_SHIFT = 2.0  # seconds; reports that ask for more contradict arrival and are not believed
SYNC_TOLERANCE = 0.020  # seconds of lip-sync error that nobody notices and that is left alone


class TrackClock:
    """Place one track's own clock on the session clock, as `SessionClock` does for other sources."""

    def __init__(self) -> None:
        self.offset: float | None = None  # session seconds - media seconds
        self.follows_reports = False  # then sender reports move it, and arrival does not
        self._last: tuple[float, float] | None = None  # session seconds of the last item, and of its arrival
        self._step = 0.0  # seconds from the last but one item in line to the last
        self._timeline = Timeline()
        self._drift = Drift()

    def place(self, media: float, arrival: float) -> float:
        """Return the session seconds of `media` seconds that came at `arrival` session seconds.

        A stamp out of line is placed by its arrival, and is believed once several agree.
        """
        if self.offset is None or self._last is None:
            self.offset = arrival - media
        t = media + self.offset
        if self._last is not None:
            last, arrived = self._last
            since = max(0.0, arrival - arrived)
            leapt = t > last + self._step + AHEAD and self._drift.leapt(t, arrival)
            if t < last - BACK or leapt:
                t = last + since
                if self._timeline.believed(t - media):
                    self.offset = t - media
                    self._drift.begin()
                self._last = (t, arrival)
                return t
            self._step = max(0.0, t - last)
        self._timeline.in_line()
        self._drift.observe(t, arrival)
        if not self.follows_reports:
            self.offset += self._drift.correction(arrival)
        self._last = (t, arrival)
        return t

    def move(self, offset: float) -> None:
        """Set the offset to what sender reports say."""
        self._drift.begin()
        if self._last is not None and self.offset is not None:
            self._last = (self._last[0] + offset - self.offset, self._last[1])
        self.offset = offset


class PeerClock:
    """Hold the clocks of a peer's sound and picture, aligned by sender reports where there are some."""

    def __init__(self) -> None:
        self._tracks: dict[str, TrackClock] = {"audio": TrackClock(), "video": TrackClock()}
        self._reports: dict[str, float] = {}  # sender's wall clock minus media seconds

    def place(self, kind: str, media: float, arrival: float) -> float:
        """Return the session seconds of a frame of the track of `kind` ("audio" or "video"); see `TrackClock.place`."""
        return self._tracks[kind].place(media, arrival)

    def report(self, kind: str, wall: float, media: float) -> None:
        """Take in that `media` seconds of a track were captured at `wall` seconds of the sender's wall clock."""
        self._reports[kind] = wall - media
        picture, sound = self._tracks["video"], self._tracks["audio"]
        if len(self._reports) == 2 and picture.offset is not None and sound.offset is not None:
            sound.follows_reports = True
            wanted = picture.offset + self._reports["audio"] - self._reports["video"]
            if SYNC_TOLERANCE < abs(wanted - sound.offset) < MAX_SHIFT:
                sound.move(wanted)
