"""One opened container, decoded: pictures and mono sound, each with its time in the media's own seconds."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from service import metrics
from service.capture.clock import AHEAD, BACK
from service.capture.limits import too_large
from service.capture.resample import Samples, SoundTrack
from service.capture.streams import Media

_DAMAGED_IN_A_ROW = 100  # unreadable packets after which the rest of a recording is given up
_DAMAGED = (av.error.InvalidDataError, av.error.ArgumentError, av.error.PatchWelcomeError)
_DECODE = metrics.STAGE_SECONDS.labels("decode")


@dataclass(frozen=True, slots=True)
class Picture:
    """Hold a decoded picture that is not converted yet: it takes half the memory of RGB while it waits."""

    frame: VideoFrame
    seconds: float | None  # media time; None where the container has none
    period: float  # seconds until the next picture, as far as the container tells


@dataclass(frozen=True, slots=True)
class NoKeyFrame:
    """Report that packets of pictures come, but no key frame from which a decoder can begin."""


def decode(media: Media, *, live: bool = False) -> Iterator[Picture | Samples | NoKeyFrame]:
    """Yield pictures and sound in the order of the container, until its end.

    What is damaged is skipped and counted in `media.damage`; trouble of the connection (time-outs, resets) is raised
    as `av.error.FFmpegError`. A recording is given up after 100 damaged packets in a row; a `live` stream never is,
    and yields `NoKeyFrame` for each packet before its first picture.
    """
    sound = SoundTrack()
    in_a_row = 0
    seen = not live  # whether a picture was decoded
    broken: av.error.FFmpegError | None = None
    packets = _packets(media)
    while live or in_a_row <= _DAMAGED_IN_A_ROW:
        try:
            packet = next(packets, None)
        except _DAMAGED as error:
            if live and in_a_row > _DAMAGED_IN_A_ROW:
                raise  # the container itself, not its pictures, cannot be followed any more
            packets = _packets(media)  # an iterator that raised is spent
            in_a_row += 1
            media.damage.note(error)
            continue
        except av.error.FFmpegError as error:
            broken = error
            break
        if packet is None:
            break
        if packet.has_sidedata("encryption_info"):  # some of it would be decoded, to noise
            media.damage.gave_up = "it is encrypted, and its key is not here"
            break
        of_picture = packet.stream is media.video
        began = time.perf_counter()
        try:
            frames = packet.decode()
        except _DAMAGED as error:
            if of_picture and not seen:
                yield NoKeyFrame()
                continue
            in_a_row += 1
            media.damage.note(error)
            continue
        in_a_row = 0
        if of_picture:
            _DECODE.observe(time.perf_counter() - began)
            seen |= bool(frames)
            if not seen:
                yield NoKeyFrame()
        yield from _usable(media, frames, sound)
    else:
        media.damage.gave_up = media.damage.last
    if broken is not None:
        yield from _held_by_decoders(media, sound)
    for whole in media.deinterlacer.flush():
        yield _picture(media, whole)
    yield from sound.flush()
    if broken is not None:
        raise broken


def _held_by_decoders(media: Media, sound: SoundTrack) -> Iterator[Picture | Samples]:
    """Yield what the decoders still hold of the packets before a connection broke."""
    for stream in _streams(media):
        rest = av.Packet()
        rest.stream, rest.time_base = stream, stream.time_base or Fraction(1, av.time_base)
        with contextlib.suppress(av.error.FFmpegError):
            yield from _usable(media, rest.decode(), sound)


def _streams(media: Media) -> list[av.VideoStream | av.AudioStream]:
    """Return the streams of the container that are in use."""
    return [stream for stream in (media.video, media.audio) if stream is not None]


def _packets(media: Media) -> Iterator["av.Packet[Any]"]:
    """Yield the packets of the streams in use. Raises `av.error.FFmpegError` for trouble of any kind."""
    try:
        yield from media.container.demux(_streams(media))
    except IndexError as error:  # of the binding, where a damaged container changes its streams
        raise av.error.EOFError(0, "the streams of the container changed") from error


def _usable(
    media: Media, frames: Sequence[VideoFrame | AudioFrame | object], sound: SoundTrack
) -> Iterator[Picture | Samples]:
    for frame in frames:
        if isinstance(frame, VideoFrame):
            if frame.is_corrupt or too_large(frame.width, frame.height, film=True):
                media.damage.note()
            else:
                for whole in media.deinterlacer.push(frame):
                    yield _picture(media, whole)
        elif isinstance(frame, AudioFrame):
            yield from sound.push(frame)


def _picture(media: Media, frame: VideoFrame) -> Picture:
    base = frame.time_base
    shown = frame.duration * base.numerator / base.denominator if frame.duration and base is not None else 0.0
    return Picture(frame, frame.time, shown or media.period)


def without_leaps(items: Iterator[Picture | Samples | NoKeyFrame]) -> Iterator[Picture | Samples | NoKeyFrame]:
    """Yield `items`; remove the stamp of one that leaps ahead if the next one of its kind falls back.

    In a recording, the time of arrival does not tell a pause from a wrong stamp, but the stamp of the next item does.
    """
    held: dict[type, Picture | Samples] = {}  # by kind: an item that leapt ahead, until the next of its kind came
    last: dict[type, float] = {}  # by kind: media seconds of the last item that did not leap
    for item in items:
        if isinstance(item, NoKeyFrame):
            yield item
            continue
        kind, seconds = type(item), item.seconds
        waiting = held.pop(kind, None)
        if waiting is not None:
            fell_back = seconds is not None and waiting.seconds is not None and seconds < waiting.seconds - BACK
            if fell_back:
                metrics.CLOCK_CORRECTIONS.labels("outlier").inc()
                waiting = replace(waiting, seconds=None)
            elif waiting.seconds is not None:
                last[kind] = waiting.seconds
            yield waiting
        if seconds is not None and kind in last and seconds > last[kind] + AHEAD:
            held[kind] = item
            continue
        if seconds is not None:
            last[kind] = seconds
        yield item
    yield from held.values()
