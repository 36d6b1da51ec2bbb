"""Read a recording, a picture or a folder of pictures with the pipeline that serves live, and write its events."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from models.errors import UserError
from service.capture.marker_file import Marker
from service.capture.media import Frame, Sound, State, StateChange
from service.capture.open import check_spec, open_source
from service.capture.source import Source
from service.capture.span import Span
from service.capture.still import kind_of
from service.capture.still_process import StillProcess, not_a_file
from service.events import Event
from service.neutral import SECONDS as NEUTRAL_SECONDS
from service.pipeline import TICK_SLACK
from service.printable import printable
from service.provenance import write_sidecar
from service.publish.export import StandardOutput, open_export
from service.publish.formats.format import Making
from service.publish.formats.registry import by_name
from service.publish.table import DEFAULT_GROUPS
from service.runtime import Runtime

# Suffixes of pictures. A file that has one and is no picture counts as unreadable, any other file as left out.
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
_NAMED = 5  # files that were left out, or markers without a row, that a sentence names at most
NAME = "analyze"  # the session's name in the events
STANDARD_OUTPUT = Path("-")
_WHOLE = Span()


Ending = Literal["complete", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold the result of an analysis."""

    path: Path
    events: int
    with_face: int
    details: list[str]  # sentences about how the input ended, what was done to it and what could not be read
    ending: Ending
    seconds: float = 0.0  # s of the recording that were analysed; 0 for pictures


@dataclass(frozen=True, slots=True)
class Pictures:
    """Hold the pictures to analyse, in name order, and what else lies in the folder."""

    paths: Sequence[Path]
    left_out: Sequence[Path] = ()

    @property
    def note(self) -> str | None:
        """Return a sentence that counts and names what was left out; None if nothing was."""
        if not self.left_out:
            return None
        names = [printable(path.name) for path in self.left_out[:_NAMED]]
        more = len(self.left_out) - len(names)
        which = ", ".join(names) + (f" and {more} more" if more else "")
        what = "1 entry that is no picture" if len(self.left_out) == 1 else f"{len(self.left_out)} that are no pictures"
        return f"left out {what}: {which}"


def analyze(
    runtime: Runtime,
    source: str,
    out: Path,
    *,
    fps: float | None = None,
    realtime: bool = False,
    quiet: bool = False,
    span: Span = _WHOLE,
    markers: Sequence[Marker] = (),
    about: Mapping[str, Any] | None = None,
    listener: Callable[[Event], None] | None = None,
    form: str | None = None,
    columns: Sequence[str] = DEFAULT_GROUPS,
    neutral: float | None = None,
) -> Outcome:
    """Read `source`, write its events to `out` and return the outcome; an interrupt keeps what was written.

    Args:
        runtime: The loaded model, and what its sessions share.
        source: A recording, a picture, a folder of pictures, or any source.
        out: A file in one of the export formats, or `STANDARD_OUTPUT` for JSON lines.
        fps: Events a second; None gives one for each frame.
        realtime: Whether a recording is played at its own speed.
        quiet: Whether no progress bar is shown.
        span: The part of the recording to read.
        markers: Labels with times, which become fields of the events and columns of the table.
        about: What made the result (`service.provenance.about`); written beside it with the outcome.
        listener: Is called with each event that is written.
        form: Name of the format of `out` (`service.publish.formats.registry`); None goes by its suffix.
        columns: The optional groups of columns of a table (`service.publish.table.GROUPS`).
        neutral: Second of the recording from which the people in view look neutral for 10 s (`service.neutral`).

    Raises:
        UserError: `source` cannot be read, `out` cannot be written, `span` holds nothing of the recording, or a marker
            lies outside of it.
    """
    stop = threading.Event()
    given = _open_input(
        runtime, source, stop, fps=fps, realtime=realtime, span=span, markers=markers, neutral=neutral, form=form
    )
    tally = _Tally(given, span)
    facts = partial(tally.facts, about or {})
    making = Making(facts if about is not None else dict, columns)
    bar = _progress_bar(given, quiet=quiet)
    with StandardOutput() if out == STANDARD_OUTPUT else open_export(out, making, form) as export, bar:
        try:
            for event in tally.kept(given.events):
                export.write(event.data_with_landmarks if export.landmarks else event.data)
                if listener is not None:
                    listener(event)
                tally.add(event)
                bar.update(tally.progress - bar.n)
        except KeyboardInterrupt:
            stop.set()
            tally.interrupt()
        tally.end(source)
    if about is not None and out != STANDARD_OUTPUT:
        write_sidecar(out, facts())
    return Outcome(out, tally.written, tally.with_face, tally.details, tally.ending, tally.seconds or 0.0)


@dataclass(frozen=True, slots=True)
class _Input:
    """Hold what is analysed.

    Attributes:
        events: The events, each made when it is asked for.
        total: Length in `unit`; 0 if it is not known.
        unit: "s" or "picture".
        pictures: The pictures; None for a recording.
        source: The recording; None for pictures.
        markers: The markers within the part that is read, by time.
    """

    events: Iterator[Event]
    total: float
    unit: str
    pictures: Pictures | None = None
    source: Source | None = None
    markers: Sequence[Marker] = ()


def _open_input(
    runtime: Runtime,
    source: str,
    stop: threading.Event,
    *,
    fps: float | None,
    realtime: bool,
    span: Span,
    markers: Sequence[Marker],
    neutral: float | None,
    form: str | None,
) -> _Input:
    """Return what is to be analysed; its events end soon after `stop` is set. See `analyze` for all other arguments.

    Raise `UserError` for an input that cannot be opened, and for an option that it does not allow.
    """
    if fps is not None and not 0 < fps < math.inf:
        raise UserError(f"--fps {fps:g} is not a number above 0; give frames per second, such as 5")
    pictures = pictures_in(Path(source)) if "://" not in source else None
    if pictures is not None:
        _check_no_times(source, form, timed=bool(markers) or neutral is not None or not span.whole)
        total = float(len(pictures.paths))
        return _Input(events_of_pictures(runtime, pictures.paths), total, "picture", pictures=pictures)
    opened = open_source(source, realtime=realtime)
    inside = sorted(marker for marker in markers if span.has(marker.t))
    events = events_of_recording(runtime, opened, fps=fps, span=span, markers=inside, neutral=neutral, stop=stop)
    total = _check_length(printable(source), getattr(opened, "duration", None), span, markers, neutral)
    return _Input(events, total, "s", source=opened, markers=inside)


def _check_no_times(source: str, form: str | None, *, timed: bool) -> None:
    """Raise `UserError` for a format or an option (`timed`) that needs a clock, which pictures do not have."""
    if form is not None and by_name(form).timed:
        raise UserError(f"{printable(source)}: pictures have no clock; --format {form} is for recordings")
    if timed:
        raise UserError(
            f"{printable(source)}: pictures have no clock; --markers, --neutral, --start and --end are for recordings"
        )


def _progress_bar(given: _Input, *, quiet: bool) -> tqdm:
    """Return a progress bar of seconds or pictures, which shows nothing if `quiet`, or where there is no terminal."""
    total, unit = given.total, given.unit
    return tqdm(
        total=total or None, unit=unit, disable=None if not quiet else True,
        bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} {unit} [{elapsed}<{remaining}]" if total else None,
    )  # fmt: skip


class _Tally:
    """Count what an analysis writes, and gather what its outcome and sidecar say."""

    def __init__(self, given: _Input, span: Span) -> None:
        """Begin at nothing written of the part `span` of `given`."""
        self.written = self.with_face = 0
        self.details: list[str] = []
        self.ending: Ending = "complete"
        self._given = given
        self._span = span
        self._failed = self._marked = 0
        self._last: float | None = None  # s, of the newest event
        self._baselines: dict[str, Mapping[str, Any]] = {}  # by track
        self._step: Mapping[str, Any] | None = None  # the newest of the neutral step

    @property
    def seconds(self) -> float | None:
        """Return the seconds of the recording that were analysed; None for pictures, and before the first event."""
        return self._last - self._span.start if self._last is not None and self._given.pictures is None else None

    @property
    def progress(self) -> float:
        """Return how much was analysed, in the unit of the input."""
        return self.written if self._given.pictures is not None else self.seconds or 0.0

    def kept(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events that are written: those of pictures, sound and markers. Note how the source ended."""
        for event in events:
            if event.data["state"] in (State.ENDED, State.FAILED):
                self.details.append(event.data["detail"])
                self._failed += event.data["state"] == State.FAILED
            if event.of_media or event.kind == "marker" or self._given.pictures is not None:
                yield event

    def add(self, event: Event) -> None:
        """Count an event that was written."""
        if event.kind == "marker":
            self._marked += 1
            return
        self._step = event.data.get("neutral") or self._step
        self._baselines |= {str(face["track"]): face["baseline"] for face in event.data["faces"]}
        self.written += 1
        self._last = event.data["t"]
        self.with_face += bool(event.landmarks)

    def interrupt(self) -> None:
        """Note that the user ended the analysis."""
        self.ending = "interrupted"
        self.details.append(f"interrupted after {self.written} events; what was done is kept")

    def end(self, source: str) -> None:
        """Add what is known at the end. Raise `UserError` if the recording ended before the part that was wanted."""
        given, failed = self._given, self._failed
        if self._last is None and self._span.start > 0 and self.ending == "complete":
            raise UserError(
                f"{printable(source)}: nothing was read, because it ends before --start {self._span.start:g}"
            )
        treatment = getattr(given.source, "treatment", ())
        self.details += _more_details(treatment, given.pictures, failed, given.markers[self._marked :], self._last)
        # One unreadable picture among others is reported, but the folder was analysed.
        if self.ending == "complete" and failed and (given.pictures is None or failed == len(given.pictures.paths)):
            self.ending = "failed"

    def facts(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return what made the result (`about`) and what came of it so far."""
        result = {
            "ending": self.ending,
            "events": self.written,
            "with_face": self.with_face,
            "seconds": self.seconds,
            "details": self.details,
            "neutral": self._step,
            "baselines": self._baselines,
        }
        return {**about, "result": result}


def _check_length(
    name: str, duration: float | None, span: Span, markers: Sequence[Marker], neutral: float | None
) -> float:
    """Return the seconds to read, 0 if they are not known.

    Raise `UserError` if the recording is known to end before `span` begins, before a marker, or during the neutral
    step, or if the neutral step does not lie within `span`.
    """
    end = min(span.end, duration or math.inf)
    if neutral is not None and not (span.start <= neutral and neutral + NEUTRAL_SECONDS <= end):
        ends = f"ends at {end:.2f} s" if end < math.inf else f"begins at {span.start:g} s"
        raise UserError(
            f"{name}: the {NEUTRAL_SECONDS:g} s of --neutral from {neutral:g} s are not within what is read, which "
            f"{ends}"
        )
    if duration is None or not 0 < duration < math.inf:
        return 0.0
    if span.start >= duration:
        raise UserError(f"{name}: --start {span.start:g} is not within the recording, which is {duration:.2f} s long")
    for marker in markers:
        if marker.t > duration:
            raise UserError(
                f"{name}: the marker {marker.label!r} at {marker.t:g} s lies outside the recording, which is "
                f"{duration:.2f} s long; check its time and unit (seconds)"
            )
    return min(duration, span.end) - span.start


def _more_details(
    treatment: Sequence[str], pictures: Pictures | None, failed: int, unused: Sequence[Marker], last: float | None
) -> list[str]:
    """Return sentences about what was done to the pictures, what could not be read, and which markers have no event."""
    details = []
    if treatment:
        details.append(f"Pictures: {'; '.join(treatment)}")
    if pictures is not None:
        if failed and len(pictures.paths) > 1:
            details.append(f"{failed} of {len(pictures.paths)} pictures could not be read")
        if pictures.note is not None:
            details.append(pictures.note)
    if unused:
        named = ", ".join(f"{marker.label!r} at {marker.t:g} s" for marker in unused[:_NAMED])
        end = "there is no event" if last is None else f"the last event is at {last:g} s"
        details.append(f"Markers without a row, because {end}: {named}{' and more' if len(unused) > _NAMED else ''}")
    return details


def check_input(source: str) -> None:
    """Raise `UserError` for an input that cannot be read, as far as that is known before a model is loaded for it."""
    if "://" in source or pictures_in(Path(source)) is None:
        check_spec(source)


def events_of_recording(
    runtime: Runtime,
    source: Source,
    *,
    fps: float | None = None,
    span: Span = _WHOLE,
    markers: Sequence[Marker] = (),
    neutral: float | None = None,
    stop: threading.Event,
) -> Iterator[Event]:
    """Yield one event per decoded frame of `span`, or for the first frame at or after each of `fps` ticks a second.

    State changes are yielded between them, and each of `markers` (in the order of their times) before the first event
    at or after it. The neutral step begins with the first frame at or after second `neutral`. What lies before `span`
    is decoded and not read: tracks, sound and windows begin with it.
    """
    pipeline = runtime.pipeline(NAME, options=replace(runtime.given, rate=fps))
    waiting = deque(markers)

    def marked(t: float) -> Iterator[Event]:
        while waiting and waiting[0].t <= t + TICK_SLACK:
            marker = waiting.popleft()
            yield pipeline.marker({"label": marker.label, "t": marker.t, "at": None})

    for item in source.read(stop):
        match item:
            case StateChange():
                yield pipeline.state(item)
            case _ if span.over(item):
                yield pipeline.state(StateChange(State.ENDED, f"Stopped at {span.end:g} s, where the part ends"))
                return
            case Sound():
                heard = span.cut(item)
                events = pipeline.sound(heard) if heard is not None else []
                yield from events
                if events:  # there is no picture that could carry the markers
                    yield from marked(events[-1].data["t"])
            case Frame() if span.has(item.t) and pipeline.wants(item):
                yield from marked(item.t)
                if neutral is not None and item.t >= neutral - TICK_SLACK:
                    pipeline.begin_neutral_step()
                    neutral = None
                yield pipeline.frame(item)
            case Frame():
                pipeline.skip(item)


def events_of_pictures(runtime: Runtime, paths: Sequence[Path]) -> Iterator[Event]:
    """Yield one event per picture, each by itself: tracks, smoothing, windows and baseline start anew.

    A picture that cannot be read gives an event of state failed with the reason `unreadable` and a sentence.
    """
    with StillProcess() as decoder:
        for path in paths:
            yield _event_of_picture(runtime, decoder, path)


def _event_of_picture(runtime: Runtime, decoder: StillProcess, path: Path) -> Event:
    """Return the event of one picture. Its pixels are freed on return, so that only one picture is in memory."""
    pipeline, name = runtime.still_pipeline(NAME), printable(path.name)
    try:
        image = decoder.read(path)
    except UserError as error:  # the others are read all the same
        return pipeline.state(StateChange(State.FAILED, str(error)), name)
    pipeline.state(StateChange(State.LIVE))
    return pipeline.frame(Frame(image, 0.0), name)


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
    # macOS keeps attributes of other files in files whose names begin with "._".
    return suffix in PICTURES and not entry.name.startswith("._")
