"""One opened container, decoded: upright RGB pictures and mono sound, each with its time in the media's own seconds."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from service import metrics
from service.capture.resample import Samples, SoundTrack

_TEXT_DECODERS = ("ansi", "bintext", "xbin", "idf")  # FFmpeg draws text files as pictures; nobody films those
_DAMAGED_IN_A_ROW = 100  # unreadable packets after which the rest is given up
_DAMAGED = (av.error.InvalidDataError, av.error.ArgumentError, av.error.PatchWelcomeError)
_LARGE = 2_500_000  # pixels: above this (1080p stays below) decoding takes more than one thread
_DECODE, _CONVERT = map(metrics.STAGE_SECONDS.labels, ("decode", "convert"))
FALLBACK_PERIOD = 1 / 25  # seconds between pictures where the container tells no rate


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, not yet converted: it takes half the memory of RGB while it waits for its turn."""

    frame: VideoFrame
    seconds: float | None  # media time; None where the container has none
    period: float  # seconds until the next picture, as far as the container tells


@dataclass(slots=True)
class Damage:
    """What could not be decoded."""

    packets: int = 0
    last: str = ""  # FFmpeg's words for the last of them
    gave_up: str = ""  # why reading ended before the container did; empty if it did not

    def note(self, error: av.error.FFmpegError | None = None) -> None:
        """Counts a packet or picture as lost."""
        self.packets += 1
        self.last = (error.strerror or str(error)) if error is not None else "damaged picture"
        metrics.FRAMES_DROPPED.labels("corrupt").inc()


@dataclass(slots=True)
class Media:
    """The streams of a container that are used: one picture, one sound, either may be missing."""

    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    damage: Damage = field(default_factory=Damage)

    @property
    def start(self) -> float:
        """Media time in seconds at which the earliest of the streams begins."""
        starts = [
            float(stream.start_time * stream.time_base)
            for stream in (self.video, self.audio)
            if stream is not None and stream.start_time is not None and stream.time_base is not None
        ]
        return min(starts, default=0.0)

    @property
    def end(self) -> float | None:
        """Media time in seconds at which the container says that it ends; None for live ones."""
        ends = [
            float(((stream.start_time or 0) + stream.duration) * stream.time_base)
            for stream in (self.video, self.audio)
            if stream is not None and stream.duration and stream.time_base is not None
        ]
        if ends:
            return max(ends)
        if not self.container.duration or self.container.duration < 0:
            return None
        return self.start + self.container.duration / av.time_base

    @property
    def period(self) -> float:
        """Seconds from one picture to the next, as far as the container tells."""
        rate = self.video.average_rate if self.video is not None else None
        return float(1 / rate) if rate else FALLBACK_PERIOD

    @property
    def description(self) -> str:
        """For people: `h264 640x360 at 30 frames/s, aac 48000 Hz`."""
        parts = []
        if self.video is not None:
            codec = self.video.codec_context
            rate = f" at {1 / self.period:.4g} frames/s" if self.video.average_rate else ""
            parts.append(f"{codec.name} {codec.width}x{codec.height}{rate}")
        if self.audio is not None:
            parts.append(f"{self.audio.codec_context.name} {self.audio.codec_context.sample_rate} Hz")
        return ", ".join(parts)


def choose_streams(container: InputContainer) -> Media | None:
    """The picture and the sound to use, decoders set up; None if there is neither."""
    video = next(
        (
            stream
            for stream in container.streams.video
            if stream.codec_context is not None
            and not stream.disposition & Disposition.attached_pic
            and stream.codec_context.name not in _TEXT_DECODERS
        ),
        None,
    )
    audio = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
    if video is None and audio is None:
        return None
    if video is not None:
        # One thread a stream costs least in all and delays nothing; only large pictures need more to keep up.
        large = video.codec_context.width * video.codec_context.height > _LARGE
        video.thread_type = "AUTO" if large else "SLICE"
        video.codec_context.thread_count = 0 if large else 1
    return Media(container, video, audio)


def decode(media: Media) -> Iterator[Picture | Samples]:
    """Pictures and sound in the order of the container, until its end.

    What is damaged is skipped and counted in `media.damage`; trouble of the connection (time-outs, resets) is raised
    as `av.error.FFmpegError`.
    """
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    sound = SoundTrack()
    in_a_row = 0
    packets = media.container.demux(streams)
    while in_a_row <= _DAMAGED_IN_A_ROW:
        try:
            packet = next(packets, None)
        except _DAMAGED as error:
            packets = media.container.demux(streams)  # an iterator that raised is spent
            in_a_row += 1
            media.damage.note(error)
            continue
        if packet is None:
            break
        began = time.perf_counter()
        try:
            frames = packet.decode()
        except _DAMAGED as error:
            in_a_row += 1
            media.damage.note(error)
            continue
        in_a_row = 0
        if packet.stream is media.video:
            _DECODE.observe(time.perf_counter() - began)
        for frame in frames:
            if isinstance(frame, VideoFrame):
                if frame.is_corrupt:
                    media.damage.note()
                else:
                    shown = frame.duration * frame.time_base if frame.duration and frame.time_base is not None else 0
                    yield Picture(frame, frame.time, float(shown) or media.period)
            elif isinstance(frame, AudioFrame):
                yield from sound.push(frame)
    else:
        media.damage.gave_up = media.damage.last
    yield from sound.flush()


class PictureConverter:
    """Decoded pictures of one stream to upright RGB. Keeps its conversion context: building one costs more than
    using it.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._rotation: float | None = None  # degrees, of the frame whose display matrix is kept
        self._matrix: NDArray[np.int32] | None = None

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB, contiguous, turned as the container's display matrix says."""
        began = time.perf_counter()
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        image = np.ascontiguousarray(rgb.to_ndarray(), np.uint8)
        # A frame whose side data was touched refers to itself and keeps its memory until the garbage collector comes
        # by; so only the first frame's are read, and that of a turn that changed.
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            self._matrix = _display_matrix(frame)
        if self._matrix is not None:
            image = upright(image, self._matrix)
        _CONVERT.observe(time.perf_counter() - began)
        return image


def _display_matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    sides = cast(SideDataContainer, frame.side_data)
    for index in range(len(sides)):
        data = sides[index]
        if data.type is SideDataType.DISPLAYMATRIX:
            return np.frombuffer(bytes(data), np.int32)
    return None


def upright(image: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """`image` (h, w, 3) shown as the nine numbers of a display matrix say, to the nearest quarter turn, mirrored or
    not. A point (p, q) goes to x = a p + c q, y = b p + d q; `matrix` is a, b, u, c, d, v, x, y, w (ISO 14496-12).
    """
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) > abs(a):
        image = image.transpose(1, 0, 2)
        mirrored, upside_down = c < 0, b < 0
    else:
        mirrored, upside_down = a < 0, d < 0
    return np.ascontiguousarray(image[:: -1 if upside_down else 1, :: -1 if mirrored else 1])
