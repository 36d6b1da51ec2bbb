"""A WebRTC peer as a source: its newest picture and its sound, on one clock.

aiortc puts every decoded frame into a queue without a bound, so a consumer that lags would grow memory and delay. Here
each track is drained on the event loop as fast as it delivers; only the newest picture and a few seconds of sound wait
for the reader, and what they push out is counted. Conversion to RGB and resampling happen in the reader's thread.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, AudioResampler, VideoFrame

from service import metrics
from service.capture.aiortc_internals import bound_backlog, on_sender_report
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.mono import MonoMixer
from service.capture.picture import PictureConverter
from service.capture.rtp_clock import PeerClock

log = logging.getLogger(__name__)

STALLED_AFTER = 2.0  # seconds without a picture (without sound, if the peer sends no picture)
GONE_AFTER = 8.0  # seconds without a single packet; aioice's own consent checks take half a minute
WATCH_EVERY = 1.0  # seconds
WAKE_EVERY = 0.25  # seconds, how soon the reader notices a stop
SAME_SAMPLE = 0.002  # seconds; rounding of timestamps, not a gap
SOUND_BUFFER = 150  # frames of usually 20 ms that may wait for the reader


@dataclass(frozen=True, slots=True)
class _Picture:
    frame: VideoFrame
    t: float
    entered: float
    captured_at: float


class WebRtcSource:
    """Yield the pictures and sound of one aiortc peer connection, from its making to its end.

    Made on the event loop before the offer is set, so that no track is missed. Ends when the peer says so, its
    connection fails, nothing comes from it for `GONE_AFTER` seconds, or `close` is called; `on_end` is called then.
    """

    def __init__(
        self,
        connection: RTCPeerConnection,
        label: str,
        on_end: Callable[[], None] | None = None,
        *,
        rotate: int = 0,
    ) -> None:
        """Take tracks from now on; pictures are turned clockwise by `rotate` degrees, 0, 90, 180 or 270."""
        self._rotate = rotate
        self._connection = connection
        self._label = label
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._began = time.perf_counter()
        self._clock = PeerClock()
        self._changed = threading.Condition()
        self._picture: _Picture | None = None
        self._newest = -1.0  # session seconds of the newest picture
        self._sounds: deque[tuple[AudioFrame, float]] = deque()
        self._has_video = False
        self._last_media = self._began  # perf_counter seconds of the newest picture (sound, if there is no video)
        self._over: str | None = None  # why it ended
        self._received, self._heard = -1, self._began  # bytes from the peer, and when the newest came (perf_counter)
        self._tasks: set[asyncio.Task[None]] = set()
        self._drains = 0
        self._closed: asyncio.Task[None] | None = None
        connection.on("track", self._on_track)
        connection.on("connectionstatechange", self._on_connection_state)
        self._spawn(self._watch())

    @property
    def label(self) -> str:
        """Return the kind of client that the constructor was given, such as `whip:`."""
        return self._label

    @property
    def over(self) -> bool:
        """Return whether the peer is gone."""
        return self._over is not None

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Yield items as `Source.read` says, and close the connection when the reader leaves."""
        try:
            yield from self._items(stop)
        finally:
            if not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(self.close("closed on this side"), self._loop)

    async def close(self, why: str = "closed on this side") -> None:
        """End the connection and `read`, and return when both are done. Call it on the event loop, once or more."""
        if self._closed is None:
            self._closed = asyncio.ensure_future(self._close(why))
        await asyncio.shield(self._closed)

    # reader's thread

    def _items(self, stop: threading.Event) -> Iterator[Item]:
        state = State.CONNECTING
        yield StateChange(state, "waiting for the first picture")
        to_rgb, resample = PictureConverter(rotate=self._rotate), _Resampler()
        while not stop.is_set():
            with self._changed:
                self._changed.wait_for(self._news, WAKE_EVERY)
                picture, self._picture = self._picture, None
                sounds = [*self._sounds]
                self._sounds.clear()
                over, has_video, last_media = self._over, self._has_video, self._last_media
            image = to_rgb(picture.frame) if picture else None
            if state is not State.LIVE and (picture or (sounds and not has_video)):
                state = State.LIVE
                yield StateChange(state, "; ".join(to_rgb.done))
            for frame, t in sounds:
                yield from resample(frame, t)
            if picture and image is not None:
                yield Frame(image, picture.t, picture.entered, picture.captured_at)
            if over is not None:
                yield StateChange(State.ENDED, over)
                return
            if state is State.LIVE and time.perf_counter() - last_media > STALLED_AFTER:
                state = State.STALLED
                yield StateChange(state, f"no {'picture' if has_video else 'sound'} for {STALLED_AFTER:.0f} s")

    def _news(self) -> bool:
        return self._picture is not None or bool(self._sounds) or self._over is not None

    # event loop

    def _on_track(self, track: MediaStreamTrack) -> None:
        receivers = [t.receiver for t in self._connection.getTransceivers() if t.receiver.track is track]
        for receiver in receivers:
            on_sender_report(receiver, partial(self._clock.report, track.kind))
            if track.kind == "video":
                bound_backlog(receiver)
        self._has_video |= track.kind == "video"
        self._drains += 1
        self._spawn(self._drain(track))

    def _on_connection_state(self) -> None:
        state = self._connection.connectionState
        if state in ("failed", "closed") and self._closed is None:
            why = "the connection failed" if state == "failed" else "the peer closed the connection"
            self._spawn(self.close(why))

    async def _drain(self, track: MediaStreamTrack) -> None:
        take = self._take_picture if track.kind == "video" else self._take_sound
        try:
            while True:
                take(await track.recv())
        except MediaStreamError:
            self._drains -= 1
        if self._drains == 0:
            await self.close("the peer stopped sending")

    def _take_picture(self, frame: Any) -> None:
        entered, captured_at = time.perf_counter(), time.time()
        t = self._clock.place("video", frame.time, entered - self._began)
        if t <= self._newest:
            metrics.FRAMES_DROPPED.labels("out_of_order").inc()
            return
        self._newest = t
        with self._changed:
            if self._picture is not None:
                metrics.FRAMES_DROPPED.labels("newest_wins").inc()
            self._picture = _Picture(frame, t, entered, captured_at)
            self._last_media = entered
            self._changed.notify_all()

    def _take_sound(self, frame: Any) -> None:
        entered = time.perf_counter()
        # A frame is whole, and sent, only after its last sample was captured.
        t = self._clock.place("audio", frame.time, entered - self._began - frame.samples / frame.sample_rate)
        with self._changed:
            if len(self._sounds) == SOUND_BUFFER:
                self._sounds.popleft()
                metrics.FRAMES_DROPPED.labels("sound_overflow").inc()
            self._sounds.append((frame, t))
            if not self._has_video:
                self._last_media = entered
            self._changed.notify_all()

    async def silent_for(self) -> float:
        """Return the seconds since a packet came from the peer, whether of media, RTCP or ICE. On the event loop."""
        stats = await self._connection.getStats()
        received = sum(part.bytesReceived for part in stats.values() if part.type == "transport")
        if received != self._received:
            self._received, self._heard = received, time.perf_counter()
        return time.perf_counter() - self._heard

    async def _watch(self) -> None:
        while await self.silent_for() < GONE_AFTER:  # noqa: ASYNC110  # no event tells of silence
            await asyncio.sleep(WATCH_EVERY)
        await self.close(f"nothing came from the peer for {GONE_AFTER:.0f} s")

    async def _close(self, why: str) -> None:
        with self._changed:
            self._over = why
            self._changed.notify_all()
        for task in self._tasks:
            task.cancel()
        try:
            await self._connection.close()
        finally:
            if self._on_end is not None:
                self._on_end()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a WebRTC peer's connection failed with an internal error", exc_info=task.exception())
            self._spawn(self.close("internal error"))


class _Resampler:
    """Convert decoded sound of any rate and layout to mono float32 at `SAMPLE_RATE`, without overlaps."""

    def __init__(self) -> None:
        self._resampler: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self._mono = MonoMixer()
        self._next = 0  # input samples on the session clock that were taken so far

    def __call__(self, frame: AudioFrame, t: float) -> Iterator[Sound]:
        rate = frame.sample_rate
        shape = (frame.format.name, frame.layout.name, rate)
        if self._resampler is None or shape != self._shape:
            self._resampler = AudioResampler(format="fltp", rate=SAMPLE_RATE)
            self._next = round(self._next * rate / self._shape[2]) if self._shape else 0
            self._shape = shape
        start = round(t * rate)
        if abs(start - self._next) < rate * SAME_SAMPLE:
            start = self._next
        if start < self._next:  # after a correction by sender reports
            metrics.FRAMES_DROPPED.labels("sound_overlap").inc()
            return
        self._next = start + frame.samples
        frame.pts, frame.time_base = start, Fraction(1, rate)
        for part in self._resampler.resample(frame):
            if part.pts is not None and part.samples:
                yield Sound(self._mono(part.to_ndarray()), part.pts / SAMPLE_RATE)
