"""A recording, a picture or a folder of pictures through the very pipeline that serves, into a file."""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from models.errors import UserError
from service.capture.media import Frame, Sound, State, StateChange
from service.capture.names import printable
from service.capture.open import open_source
from service.capture.source import Source
from service.capture.still import kind_of
from service.capture.still_process import StillProcess, not_a_file
from service.events import Event
from service.publish.export import open_export
from service.runtime import Runtime

# Names that promise a picture: what is not one is counted as unreadable, not as left out.
# fmt: off
PICTURES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".gif", ".jp2", ".j2k", ".jpf", ".jpx", ".heic", ".heif", ".hif", ".avif",
})
# fmt: on
# Files that begin like a picture and are something else: raw camera data behind a thumbnail, films of JPEG pictures.
# fmt: off
_NO_PICTURES = frozenset({
    ".cr2", ".nef", ".arw", ".dng", ".orf", ".rw2", ".pef", ".srw", ".mjpg", ".mjpeg",
})
# fmt: on
_MAY_MOVE = frozenset({"GIF", "AVIF"})  # kinds that FFmpeg plays, if one is given alone
_NAMED = 5  # files that were left out are named, so many of them
TICK_SLACK = 1e-6  # s; a frame that lies on a tick but for rounding counts as on it
NAME = "analyze"  # the session's name in the events


@dataclass(frozen=True, slots=True)
class Outcome:
    """Holds what an analysis came to."""

    path: Path
    events: int
    with_face: int
    details: list[str]  # sentences about how the input ended, what was done to it and what could not be read
    ending: Literal["complete", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Holds the pictures to analyse, in name order, and what lies beside them in the folder."""

    paths: Sequence[Path]
    left_out: Sequence[Path] = ()

    @property
    def note(self) -> str | None:
        """A sentence that counts and names what was left out; None if nothing was."""
        if not self.left_out:
            return None
        names = [printable(path.name) for path in self.left_out[:_NAMED]]
        more = len(self.left_out) - len(names)
        which = ", ".join(names) + (f" and {more} more" if more else "")
        what = "1 entry that is no picture" if len(self.left_out) == 1 else f"{len(self.left_out)} that are no pictures"
        return f"left out {what}: {which}"


def analyze(
    runtime: Runtime, source: str, out: Path, *, fps: float | None = None, realtime: bool = False, quiet: bool = False
) -> Outcome:
    """Read `source`, write its events to `out` and return the outcome; what is done is kept when interrupted.

    Raises `UserError` if `source` cannot be read or `out` cannot be written.
    """
    if fps is not None and not 0 < fps < math.inf:
        raise UserError(f"--fps {fps:g} is not a number above 0; give frames per second, such as 5")
    pictures = pictures_in(Path(source)) if "://" not in source else None
    stop = threading.Event()
    opened: Source | None = None
    if pictures is not None:
        events, total, unit = events_of_pictures(runtime, pictures.paths), float(len(pictures.paths)), "picture"
    else:
        opened = open_source(source, realtime=realtime)
        events, unit = events_of_recording(runtime, opened, fps=fps, stop=stop), "s"
        total = getattr(opened, "duration", None) or 0.0
    written = with_face = failed = 0
    details: list[str] = []
    ending: Literal["complete", "interrupted", "failed"] = "complete"
    bar = tqdm(
        total=total or None, unit=unit, disable=None if not quiet else True,
        bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} {unit} [{elapsed}<{remaining}]" if total else None,
    )  # fmt: skip
    with open_export(out) as export, bar:
        try:
            for event in events:
                if event.data["state"] in (State.ENDED, State.FAILED):
                    details.append(event.data["detail"])
                    failed += event.data["state"] == State.FAILED
                if not event.of_media and pictures is None:
                    continue
                export.write(event.data)
                written += 1
                with_face += bool(event.landmarks)
                bar.update((event.data["t"] if pictures is None else written) - bar.n)
        except KeyboardInterrupt:
            stop.set()
            ending = "interrupted"
            details.append(f"interrupted after {written} events; what was done is kept")
    treatment = getattr(opened, "treatment", ())
    if treatment:
        details.append(f"Pictures: {'; '.join(treatment)}")
    if pictures is not None:
        if failed and len(pictures.paths) > 1:
            details.append(f"{failed} of {len(pictures.paths)} pictures could not be read")
        if pictures.note is not None:
            details.append(pictures.note)
    # One unreadable picture among others is reported, but the folder was analysed.
    if ending == "complete" and failed and (pictures is None or failed == len(pictures.paths)):
        ending = "failed"
    return Outcome(out, written, with_face, details, ending)


def events_of_recording(
    runtime: Runtime, source: Source, *, fps: float | None = None, stop: threading.Event
) -> Iterator[Event]:
    """Yield one event per decoded frame, or for the first frame at or after each of `fps` ticks a second.

    State changes are yielded between them.
    """
    pipeline = runtime.pipeline(NAME)
    due = 0.0  # s
    for item in source.read(stop):
        match item:
            case Sound():
                yield from pipeline.sound(item)
            case StateChange():
                yield pipeline.state(item)
            case Frame() if fps is None or item.t >= due - TICK_SLACK:
                yield pipeline.frame(item)
                if fps is not None:
                    due = (np.floor(item.t * fps + TICK_SLACK) + 1) / fps
            case Frame():
                pipeline.skip(item)


def events_of_pictures(runtime: Runtime, paths: Sequence[Path]) -> Iterator[Event]:
    """Yield one event per picture, each by itself: tracks, smoothing, windows and baseline start anew.

    A picture that cannot be read gives an event of state failed with the reason `unreadable` and a sentence.
    """
    with StillProcess() as decoder:
        for path in paths:
            pipeline = runtime.still_pipeline(NAME)
            name = printable(path.name)
            try:
                image = decoder.read(path)
                pipeline.state(StateChange(State.LIVE))
                event = pipeline.frame(Frame(image, 0.0), name)
            except UserError as error:  # the others are read all the same
                event = pipeline.state(StateChange(State.FAILED, str(error)), name)
            yield event


def pictures_in(path: Path) -> Pictures | None:
    """Return the picture `path` itself, or those of the folder `path`; None if `path` is neither.

    A picture is recognised by its content, whatever its name says. Raise `UserError` if a folder holds none, or
    cannot be read.
    """
    if not path.is_dir():
        return Pictures([path]) if path.is_file() and _is_picture_alone(path) else None
    try:
        entries = sorted(path.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be read: {error.strerror}") from error
    pictures = [entry for entry in entries if _is_picture(entry)]
    if not pictures:
        raise UserError(f"{printable(path)}: no pictures in this folder; {', '.join(sorted(PICTURES))} are read")
    read = set(pictures)
    return Pictures(pictures, [entry for entry in entries if entry not in read])


def _is_picture_alone(path: Path) -> bool:
    try:
        kind = kind_of(path)
    except OSError:
        kind = None
    if kind is None:
        return path.suffix.lower() in PICTURES
    return kind not in _MAY_MOVE and path.suffix.lower() not in _NO_PICTURES


def _is_picture(entry: Path) -> bool:
    """Return whether `entry` of a folder is a picture by its content, or claims to be one by its name."""
    suffix = entry.suffix.lower()
    if entry.is_dir() or suffix in _NO_PICTURES:
        return False
    if not_a_file(entry) is None:
        try:
            if kind_of(entry) is not None:
                return True
        except OSError:
            pass
    return suffix in PICTURES and not entry.name.startswith("._")  # macOS keeps a file's attributes in such ones
