"""Which picture and which sound of a container are used, and what is said about them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from models.errors import UserError
from service import metrics
from service.capture.deinterlace import Deinterlacer
from service.capture.limits import max_pixels, too_large, unusable_rate
from service.capture.picture import PictureConverter

_TEXT_DECODERS = ("ansi", "bintext", "xbin", "idf")  # FFmpeg draws text files as pictures; nobody films those
_LARGE = 2_500_000  # pixels: above this (1080p stays below) decoding takes more than one thread
FALLBACK_PERIOD = 1 / 25  # seconds between pictures where the container tells no rate
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails  # covers and previews
# Tracks for a purpose of their own; used only where there is no other.
_SPECIAL = (
    Disposition.comment
    | Disposition.visual_impaired
    | Disposition.hearing_impaired
    | Disposition.karaoke
    | Disposition.clean_effects
    | Disposition.non_diegetic
    | Disposition.descriptions
)

_Stream = TypeVar("_Stream", VideoStream, AudioStream)


@dataclass(slots=True)
class Damage:
    """Count what could not be decoded."""

    packets: int = 0
    last: str = ""  # FFmpeg's words for the last of them
    gave_up: str = ""  # why reading ended before the container did; empty if it did not

    def note(self, error: av.error.FFmpegError | None = None) -> None:
        """Count a packet or picture as lost."""
        self.packets += 1
        self.last = words(error) if error is not None else "damaged picture"
        metrics.FRAMES_DROPPED.labels("corrupt").inc()


def words(error: av.error.FFmpegError) -> str:
    """Return FFmpeg's words for `error` without what it quotes, which may be an address with its password."""
    return error.strerror or type(error).__name__


@dataclass(slots=True)
class Media:
    """Hold the streams of a container that are used: one picture and one sound stream, either may be missing."""

    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    notes: tuple[str, ...] = ()  # about streams that were left out
    rotate: int = 0  # degrees clockwise that the user asked for
    damage: Damage = field(default_factory=Damage)
    deinterlacer: Deinterlacer = field(default_factory=Deinterlacer)
    convert: PictureConverter = field(init=False)

    def __post_init__(self) -> None:
        self.convert = PictureConverter(self.video, self.rotate)

    @property
    def start(self) -> float:
        """Return the media time in seconds at which the earliest of the streams begins."""
        starts = [
            float(stream.start_time * stream.time_base)
            for stream in (self.video, self.audio)
            if stream is not None and stream.start_time is not None and stream.time_base is not None
        ]
        return min(starts, default=0.0)

    @property
    def end(self) -> float | None:
        """Return the media time in seconds at which the container says that it ends; None where it does not say."""
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
        """Return the seconds from one picture to the next, as far as the container gives them."""
        rate = self.video.average_rate if self.video is not None else None
        return float(1 / rate) if rate else FALLBACK_PERIOD

    @property
    def version(self) -> tuple[object, ...]:
        """Return what changes whenever `description` does, and costs nothing to compare for every picture."""
        codec = self.video.codec_context if self.video is not None else None
        size = (codec.width, codec.height) if codec is not None else None
        return (size, self.deinterlacer.active, self.convert.done)

    @property
    def description(self) -> str:
        """Return a text for people: `h264 640x360 at 30 frames/s, aac 48000 Hz; deinterlaced`."""
        parts = []
        if self.video is not None:
            codec = self.video.codec_context
            rate = f" at {1 / self.period:.4g} frames/s" if self.video.average_rate else ""
            parts.append(f"{codec.name} {codec.width}x{codec.height}{rate}")
        if self.audio is not None:
            parts.append(f"{self.audio.codec_context.name} {self.audio.codec_context.sample_rate} Hz")
        return "; ".join((", ".join(parts), *self.treatment, *self.notes))

    @property
    def treatment(self) -> tuple[str, ...]:
        """Return what has been done to the pictures so far besides decoding, each in words."""
        deinterlaced = ("deinterlaced",) if self.deinterlacer.active else ()
        return (*deinterlaced, *self.convert.done)


def choose_streams(container: InputContainer, rotate: int = 0) -> Media:
    """Return the picture and the sound to use, decoders set up: those marked as default, else the first ones.

    Pictures will be turned clockwise by `rotate` degrees. Raises `UserError`, a sentence's end that says what the
    container holds instead, if there is neither picture nor sound, or the picture is larger than the limit.
    """
    notes = []
    films = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None
        and not stream.disposition & _NO_FILM
        and stream.codec_context.name not in _TEXT_DECODERS
    ]
    whole = [stream for stream in films if not stream.disposition & Disposition.dependent]
    video = _preferred(whole)
    sounds = []
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            unusable = unusable_rate(stream.codec_context.sample_rate or 0)
            if unusable is None:
                sounds.append(stream)
            else:
                notes.append(f"sound left out: {unusable}")
    audio = _preferred(sounds)
    if films and not whole:
        raise UserError(
            f"holds its picture in {len(films)} parts that make a whole only together, as phones' photographs do; "
            "`affectstream analyze` reads such photographs, and a video needs its main track"
        )
    if video is None and audio is None:
        raise UserError("; ".join(["holds neither pictures nor sound that can be decoded", *notes]))
    if video is not None:
        width, height = video.codec_context.width, video.codec_context.height
        refused = too_large(width, height, film=True)
        if refused is not None:
            raise UserError(f"holds pictures that are too large: {refused}")
        # One thread a stream costs least in all and delays nothing; only large pictures need more to keep up.
        large = width * height > _LARGE
        video.thread_type = "AUTO" if large else "SLICE"
        video.codec_context.thread_count = 0 if large else 1
        # Checked again in each picture, because a stream may become larger later.
        video.codec_context.options = {"max_pixels": str(max_pixels(film=True))}
    for left_out in container.streams:
        if left_out not in (video, audio):
            left_out.discard = Discard.all  # not even fetched, where the container lets a reader choose
    return Media(container, video, audio, tuple(notes), rotate)


def _preferred(streams: Iterable[_Stream]) -> _Stream | None:
    """Return the first of `streams` that is marked as default and has no special purpose, else the next best."""
    return min(
        streams,
        key=lambda stream: (not stream.disposition & Disposition.default, bool(stream.disposition & _SPECIAL)),
        default=None,
    )
