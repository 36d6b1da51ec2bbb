"""Recordings: files, and whatever comes over HTTP with a known end."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import av
from av.video.frame import VideoFrame

from engines.errors import UserError
from service.capture.clock import SessionClock
from service.capture.decode import Media, Picture, PictureConverter, choose_streams, decode
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.pace import Pace
from service.capture.resample import Samples

_CUT = 0.3  # seconds: a recording that ends this much before it said it would was cut short
_READ_AHEAD = 2.0  # seconds of one kind that may wait for the other
# s by which sound may come early where there are pictures: it is read with the next of those, and to wake for each of
# its pieces is dearer than to decode them.
_SOUND_AHEAD = 0.05
_WAITING_BYTES = 128 << 20  # of decoded pictures that may wait for sound


class FileSource:
    """A recording on disk, played once or for ever."""

    def __init__(self, path: Path, label: str, *, realtime: bool, loop: bool = False) -> None:
        """Raises `UserError` if `path` is missing, a folder, empty, unreadable or holds neither picture nor sound."""
        self.label = label
        self._path = path
        self._realtime = realtime
        self._loop = loop
        check_file(path)
        with open_media(path) as container:
            media = streams_of(container, str(path))
            # Seconds, as far as the container tells; of one round where it is looped.
            self.duration = None if media.end is None else media.end - media.start

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Frames and sound in the order of the clock; see `Source.read`."""
        clock, pace = SessionClock(), Pace(self._realtime)
        first = True
        while not stop.is_set():
            came = False
            with open_media(self._path) as container:
                media = streams_of(container, str(self._path))
                clock.begin(clock.end, media.start)
                for item in play(media, clock, pace, stop):
                    if first:
                        yield StateChange(State.LIVE, media.description)
                    first, came = False, True
                    yield item
                end = ending(media, clock)
            if stop.is_set():
                return
            if not came:
                raise UserError(f"Nothing in {self._path} can be decoded: {_trouble(media)}. Is it a video?")
            if not self._loop:
                yield StateChange(State.ENDED, end)
                return


def check_file(path: Path) -> None:
    """Raises `UserError`, a sentence, unless `path` is a readable file that is not empty."""
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give one video file.")
        if not path.exists():
            raise UserError(f"There is no file {path}; check the path.")
        if not path.is_file():  # opening a pipe would wait for its writer
            raise UserError(f"{path} is not a file; cameras of this machine are camera:N.")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty (0 bytes); was its recording or copying interrupted?")
        with path.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def open_media(path: Path) -> av.container.InputContainer:
    """The container at `path`. Raises `UserError` if FFmpeg does not know what it is."""
    try:
        # "file:" keeps FFmpeg from reading a protocol into the name.
        return av.open(f"file:{path}", metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UserError(
            f"{path} is not a video or sound that FFmpeg can read ({error.strerror}); if it is one, its index may have "
            "been lost with its end: record or copy it again."
        ) from error


def streams_of(container: av.container.InputContainer, name: str) -> Media:
    """The streams to use. Raises `UserError` if there is neither picture nor sound."""
    media = choose_streams(container)
    if media is None:
        raise UserError(f"{name} is not a video: it holds neither pictures nor sound that can be decoded.")
    return media


def play(media: Media, clock: SessionClock, pace: Pace, stop: threading.Event) -> Iterator[Frame | Sound]:
    """Frames and sound of a recording in the order of the clock, at its pace."""
    convert = PictureConverter()
    ahead = _SOUND_AHEAD if media.video is not None else 0.0
    for item, t in in_order(media, clock):
        if isinstance(item, Picture):
            if not pace.wait(t, stop):
                return
            # Converted once it is due: a frame enters the process, as a camera's would, at its own time.
            entered, captured_at = time.perf_counter(), time.time()
            yield Frame(convert(item.frame), t, entered, captured_at)
        else:
            if not pace.wait(t + len(item.samples) / SAMPLE_RATE - ahead, stop):
                return
            yield Sound(item.samples, t)


def in_order(media: Media, clock: SessionClock) -> Iterator[tuple[Picture | Samples, float]]:
    """Pictures and sound with their session times, merged: sound that ends at or before a picture precedes it.

    One kind waits for the other, as containers store them apart, but for `_READ_AHEAD` seconds at most.
    """
    pictures: deque[tuple[Picture, float]] = deque()
    sounds: deque[tuple[Samples, float]] = deque()
    heard = seen = float("-inf")  # session time up to which sound and pictures were decoded
    try:
        for item in decode(media):
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
        media.damage.gave_up = error.strerror or str(error)
    while pictures or sounds:
        if sounds and (not pictures or _end(sounds[0]) <= pictures[0][1]):
            yield sounds.popleft()
        else:
            yield pictures.popleft()


def ending(media: Media, clock: SessionClock) -> str:
    """How a recording ended, for people: whether it was cut short, and what was damaged."""
    packets = media.damage.packets
    damaged = f"; {packets} damaged packet{'s were' if packets > 1 else ' was'} skipped" if packets else ""
    if media.damage.gave_up:
        return f"Cut short at {clock.run:.2f} s: {media.damage.gave_up}{damaged}"
    length = None if media.end is None else media.end - media.start
    if length is not None and clock.run < length - _CUT:
        return f"Cut short at {clock.run:.2f} s of {length:.2f} s{damaged}"
    return f"The recording ended after {clock.run:.2f} s{damaged}"


def _trouble(media: Media) -> str:
    return media.damage.gave_up or media.damage.last or "no packets"


def _end(entry: tuple[Samples, float]) -> float:
    return entry[1] + len(entry[0].samples) / SAMPLE_RATE


def _bytes(frame: VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)
