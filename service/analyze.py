"""A recording, a picture or a folder of pictures through the very pipeline that serves, into a file."""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from engines.errors import UserError
from service.capture.media import Frame, Sound, State, StateChange
from service.capture.open import open_source
from service.capture.source import Source
from service.events import Event
from service.publish.export import open_export
from service.runtime import Runtime

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
TICK_SLACK = 1e-6  # s; a frame that lies on a tick but for rounding counts as on it
NAME = "analyze"  # the session's name in the events


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an analysis came to."""

    path: Path
    events: int
    with_face: int
    details: list[str]  # sentences about how the input ended and what could not be read
    ending: Literal["complete", "interrupted", "failed"]


def analyze(
    runtime: Runtime, source: str, out: Path, *, fps: float | None = None, realtime: bool = False, quiet: bool = False
) -> Outcome:
    """Reads `source` into `out`. What is done is kept when interrupted. Raises `UserError`."""
    if fps is not None and not 0 < fps < math.inf:
        raise UserError(f"--fps {fps:g} is not a number above 0; give frames per second, such as 5")
    pictures = _pictures_in(Path(source)) if "://" not in source else None
    stop = threading.Event()
    if pictures is not None:
        events, total, unit = events_of_pictures(runtime, pictures), float(len(pictures)), "picture"
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
    # One unreadable picture among others is told, but the folder was analysed.
    if ending == "complete" and failed and (pictures is None or failed == len(pictures)):
        ending = "failed"
    return Outcome(out, written, with_face, details, ending)


def events_of_recording(
    runtime: Runtime, source: Source, *, fps: float | None = None, stop: threading.Event
) -> Iterator[Event]:
    """One event per decoded frame, or for the first frame at or after each of `fps` ticks a second; state changes
    between them.
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


def events_of_pictures(runtime: Runtime, paths: list[Path]) -> Iterator[Event]:
    """One event per picture, each by itself: tracks, smoothing, windows and baseline start anew."""
    for path in paths:
        encoded = np.fromfile(path, np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB) if encoded.size else None
        pipeline = runtime.still_pipeline(NAME)
        if image is None:
            unreadable = StateChange(State.FAILED, f"{path.name}: not a picture that can be read")
            event = pipeline.state(unreadable, path.name)
        else:
            pipeline.state(StateChange(State.LIVE))
            try:
                event = pipeline.frame(Frame(np.asarray(image, np.uint8), 0.0), path.name)
            except UserError as error:  # too large; the others are read all the same
                event = pipeline.state(StateChange(State.FAILED, f"{path.name}: {error}"), path.name)
        yield event


def _pictures_in(path: Path) -> list[Path] | None:
    """The picture itself, or a folder's pictures in name order; None: `path` is no picture. Raises `UserError`."""
    if not path.is_dir():
        return [path] if path.suffix.lower() in PICTURES and path.is_file() else None
    paths = sorted((p for p in path.iterdir() if p.suffix.lower() in PICTURES), key=lambda p: p.name)
    if not paths:
        raise UserError(f"{path}: no pictures in this folder; {', '.join(sorted(PICTURES))} are read")
    return paths
