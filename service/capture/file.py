"""Recordings: files, and whatever comes over HTTP with a known end."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import av
from av.video.frame import VideoFrame

from models.errors import UserError
from service.capture.clock import SessionClock
from service.capture.decode import NoKeyFrame, Picture, decode, without_leaps
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.pace import Pace
from service.capture.resample import Samples
from service.capture.still import oversize
from service.capture.streams import Media, choose_streams, words
from service.printable import printable

_CUT = 0.3  # seconds: a recording that ends this much before it said it would was cut short
_READ_AHEAD = 2.0  # seconds of one kind that may wait for the other
# s by which sound may come early where there are pictures: it is read with the next of those, and to wake for each of
# its pieces costs more than to decode them.
_SOUND_AHEAD = 0.05
_WAITING_BYTES = 128 << 20  # of decoded pictures that may wait for sound


class FileSource:
    """Play a recording on disk, once or for ever."""

    def __init__(self, path: Path, label: str, *, realtime: bool, loop: bool = False, rotate: int = 0) -> None:
        """Open nothing yet. `rotate`: degrees clockwise by which the pictures are turned.

        Raises `UserError` if `path` is missing, a folder, empty, unreadable or holds neither picture nor sound.
        """
        self.label = printable(label)
        self.treatment: tuple[str, ...] = ()  # what was done to the pictures, once they were read
        self._path = path
        self._realtime = realtime
        self._loop = loop
        self._rotate = rotate
        check_file(path)
        with open_media(path) as container:
            media = streams_of(container, path, rotate)
            # Seconds, as far as the container tells; of one round where it is looped.
            self.duration = None if media.end is None else media.end - media.start

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Yield frames and sound in the order of the clock; see `Source.read`."""
        clock, pace = SessionClock(), Pace(self._realtime)
        said: tuple[object, ...] | None = None
        while not stop.is_set():
            came = False
            with open_media(self._path) as container:
                media = streams_of(container, self._path, self._rotate)
                clock.begin(clock.end, media.start)
                for item in play(media, clock, pace, stop):
                    if media.version != said:
                        said, self.treatment = media.version, media.treatment
                        yield StateChange(State.LIVE, media.description)
                    came = True
                    yield item
                end = ending(media, clock)
            if stop.is_set():
                return
            if not came:
                raise UserError(f"Nothing in {printable(self._path)} can be decoded: {trouble(media)}. Is it a video?")
            if not self._loop:
                yield StateChange(State.ENDED, end)
                return


def check_file(path: Path) -> None:
    """Raise `UserError`, a sentence, unless `path` is a readable file that is not empty, nor a picture too large."""
    shown = printable(path)
    try:
        if path.is_dir():
            raise UserError(f"{shown} is a folder; give one video file.")
        if not path.exists():
            raise UserError(f"There is no file {shown}; check the path.")
        if not path.is_file():  # opening a pipe would wait for its writer
            raise UserError(f"{shown} is not a file; cameras of this machine are camera:N.")
        if path.stat().st_size == 0:
            raise UserError(f"{shown} is empty (0 bytes); was its recording or copying interrupted?")
        refused = oversize(path)
    except ValueError as error:  # a null byte within the name
        raise UserError(f"{shown} is no file name; check the path.") from error
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror}.") from error
    if refused is not None:
        raise UserError(f"{shown} is too large: {refused}.")


def open_media(path: Path) -> av.container.InputContainer:
    """Return the container at `path`. Raises `UserError` if FFmpeg does not know what it is."""
    try:
        if printable(path) == str(path):
            # "file:" keeps FFmpeg from reading a protocol into the name.
            return av.open(f"file:{path}", metadata_errors="replace")
        # FFmpeg's binding takes only names that are UTF-8; FFmpeg copies the descriptor.
        with path.open("rb") as file:
            return av.open("fd:", options={"fd": str(file.fileno())}, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UserError(
            f"{printable(path)} is not a video or sound that FFmpeg can read ({words(error)}); if it is one, its index "
            "may have been lost with its end: record or copy it again."
        ) from error


def streams_of(container: av.container.InputContainer, path: Path, rotate: int = 0) -> Media:
    """Return the streams of `path` to use. Raises `UserError` if there is neither picture nor sound."""
    try:
        return choose_streams(container, rotate)
    except UserError as error:
        raise UserError(f"{printable(path)} is not a video that can be read: it {error}.") from None


def play(media: Media, clock: SessionClock, pace: Pace, stop: threading.Event) -> Iterator[Frame | Sound]:
    """Yield frames and sound of a recording in the order of the clock, at its pace."""
    ahead = _SOUND_AHEAD if media.video is not None else 0.0
    for item, t in in_order(media, clock):
        if isinstance(item, Picture):
            if not pace.wait(t, stop):
                return
            # Converted once it is due: a frame enters the process, as a camera's would, at its own time.
            entered, captured_at = time.perf_counter(), time.time()
            yield Frame(media.convert(item.frame), t, entered, captured_at)
        else:
            if not pace.wait(t + len(item.samples) / SAMPLE_RATE - ahead, stop):
                return
            yield Sound(item.samples, t)


def in_order(media: Media, clock: SessionClock) -> Iterator[tuple[Picture | Samples, float]]:
    """Yield pictures and sound with their session times, merged: sound that ends at or before a picture precedes it.

    One kind waits for the other, as containers store them apart, but for `_READ_AHEAD` seconds at most.
    """
    pictures: deque[tuple[Picture, float]] = deque()
    sounds: deque[tuple[Samples, float]] = deque()
    heard = seen = float("-inf")  # session time up to which sound and pictures were decoded
    try:
        for item in without_leaps(decode(media)):
            if isinstance(item, NoKeyFrame):
                continue
            if isinstance(item, Picture):
                seen = clock.picture(item.seconds, item.period)
                pictures.append((item, seen))
            else:
                duration = len(item.samples) / SAMPLE_RATE
                t = clock.sound(item.seconds, duration)
                heard = t + duration
                sounds.append((item, t))
            crowd = pictures and len(pictures) * _bytes(pictures[0][0].frame) > _WAITING_BYTES
            while pictures or sounds:
                sound_first = bool(sounds) and (not pictures or _end(sounds[0]) <= pictures[0][1])
                if sound_first:
                    if media.video is not None and _end(sounds[0]) > seen and heard - _end(sounds[0]) < _READ_AHEAD:
                        break  # a picture before its end may still come
                    yield sounds.popleft()
                else:
                    due = media.audio is None or heard >= pictures[0][1] or seen - pictures[0][1] > _READ_AHEAD
                    if not (due or crowd):
                        break  # sound that ends before it may still come
                    yield pictures.popleft()
                    crowd = False
    except av.error.FFmpegError as error:
        media.damage.gave_up = words(error)
    while pictures or sounds:
        if sounds and (not pictures or _end(sounds[0]) <= pictures[0][1]):
            yield sounds.popleft()
        else:
            yield pictures.popleft()


def ending(media: Media, clock: SessionClock) -> str:
    """Return how a recording ended, for people: whether it was cut short, and what was damaged."""
    packets = media.damage.packets
    damaged = f"; {packets} damaged packet{'s were' if packets > 1 else ' was'} skipped" if packets else ""
    if media.damage.gave_up:
        return f"Cut short at {clock.run:.2f} s: {media.damage.gave_up}{damaged}"
    length = None if media.end is None else media.end - media.start
    if length is not None and clock.run < length - _CUT:
        return f"Cut short at {clock.run:.2f} s of {length:.2f} s{damaged}"
    return f"The recording ended after {clock.run:.2f} s{damaged}"


def trouble(media: Media) -> str:
    """Return why nothing of `media` could be decoded, for people."""
    return media.damage.gave_up or media.damage.last or "no packets"


def _end(entry: tuple[Samples, float]) -> float:
    return entry[1] + len(entry[0].samples) / SAMPLE_RATE


def _bytes(frame: VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)
