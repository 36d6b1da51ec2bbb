"""One clock for the tracks of a WebRTC peer: RTP timestamps, arrival and RTCP sender reports to session seconds.

Each track counts from a random origin of its own. Arrival places both on the session clock at first, to within the
network's and the jitter buffers' delay; sender reports (RFC 3550, 6.4.1) say which moment of the sender's wall clock
a timestamp stands for, and so put sound and picture exactly where they were captured. The picture is the reference:
its times never jump, the sound is moved to it.
"""

MAX_JUMP = 30.0  # seconds between media clock and arrival at which a new timestamp origin is assumed, not a delay
MAX_SHIFT = 2.0  # seconds; reports that ask for more contradict arrival and are not believed
SYNC_TOLERANCE = 0.020  # seconds of lip-sync error that nobody notices and that is left alone


class TrackClock:
    """Seconds of one track's own clock to seconds on the session clock."""

    def __init__(self) -> None:
        self.offset: float | None = None
        self._last: tuple[float, float] | None = None  # media, arrival

    def place(self, media: float, arrival: float) -> float:
        """Session seconds of `media` seconds that came at `arrival` session seconds."""
        if self.offset is None or self._last is None or self._jumped(media, arrival, *self._last):
            self.offset = arrival - media
        self._last = (media, arrival)
        return media + self.offset

    @staticmethod
    def _jumped(media: float, arrival: float, last_media: float, last_arrival: float) -> bool:
        return abs((media - last_media) - (arrival - last_arrival)) > MAX_JUMP


class PeerClock:
    """The clocks of a peer's sound and picture, brought together by sender reports where there are some."""

    def __init__(self) -> None:
        self._tracks: dict[str, TrackClock] = {"audio": TrackClock(), "video": TrackClock()}
        self._reports: dict[str, float] = {}  # sender's wall clock minus media seconds

    def place(self, kind: str, media: float, arrival: float) -> float:
        """Session seconds of a frame of the track of `kind` ("audio" or "video"); see `TrackClock.place`."""
        return self._tracks[kind].place(media, arrival)

    def report(self, kind: str, wall: float, media: float) -> None:
        """The sender says that `media` seconds of its track were captured at `wall` seconds of its wall clock."""
        self._reports[kind] = wall - media
        picture, sound = self._tracks["video"], self._tracks["audio"]
        if len(self._reports) == 2 and picture.offset is not None and sound.offset is not None:
            wanted = picture.offset + self._reports["audio"] - self._reports["video"]
            if SYNC_TOLERANCE < abs(wanted - sound.offset) < MAX_SHIFT:
                sound.offset = wanted
