"""A study as its file says it: participants, recordings, conditions, stimuli and markers."""

import difflib
import math
import shlex
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from models.errors import UserError
from models.files import at_home
from service.archive import storage
from service.archive.task import Reading, Task, check_names
from service.capture.file import FileSource
from service.capture.marker_file import Marker, marker, read_markers
from service.neutral import SECONDS as NEUTRAL_SECONDS
from service.pool.options import read_pool
from service.printable import printable
from service.publish.formats.registry import by_name
from service.publish.table import DEFAULT_GROUPS, read_groups
from service.settings import DEFAULT_MODEL, Smoothing
from service.studies import bids_dataset

ENGINE = "openvino:fp32"  # one precision on every machine, where `analyze` takes the fastest that agrees with it
DEFAULT = "study.toml"  # the study's file where none is named
REPORT = "report.html"
FOLDER = "recordings"  # of the results of single recordings

_STUDY = ("name", "results")
_OPTIONS = (
    "model", "engine", "model_option", "untrained", "voice", "voice_share", "smoothing", "gaze", "fps", "pool",
    "format", "columns",
)  # fmt: skip
_SMOOTHINGS: tuple[Smoothing, ...] = get_args(Smoothing)
_PARTICIPANT = ("id",)
_RECORDING = ("video", "participant", "condition", "name", "start", "end", "markers", "neutral", "stimulus")
_STIMULUS = ("label", "start", "end", "condition")
_MARKER = ("label", "time")
_PARTS = {"study": dict, "options": dict, "participant": list, "recording": list}


@dataclass(frozen=True, slots=True)
class Stimulus:
    """Hold a stretch of a recording in which something was shown or done; seconds of its clock."""

    label: str
    start: float
    end: float
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """Hold one recording of a participant."""

    name: str
    place: str
    participant: str
    condition: str
    start: float = 0.0
    end: float | None = None
    stimuli: tuple[Stimulus, ...] = ()
    markers: tuple[Marker, ...] = ()
    neutral: float | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """Hold a study: its name, the place of its results, how recordings are read, and the recordings."""

    name: str
    results: str
    reading: Reading
    recordings: tuple[Recording, ...] = field(default=())

    def tasks(self) -> list[Task]:
        """Return the recordings as tasks of an archive. Raise `UserError` for a name that BIDS cannot have."""
        also: list[str | None] = [None] * len(self.recordings)
        if self.reading.form == bids_dataset.FOLDER:
            found = bids_dataset.places(self.name, [(one.participant, one.condition) for one in self.recordings])
            also = [storage.join(self.bids, place) for place in found]
        return [
            Task(
                place=one.place,
                name=one.name,
                out=storage.join(self.results, FOLDER),
                start=one.start,
                end=one.end,
                markers=[(mark.t, mark.label) for mark in one.markers],
                neutral=one.neutral,
                also=place,
            )
            for one, place in zip(self.recordings, also, strict=True)
        ]

    @property
    def report(self) -> str:
        """Return the place of the report."""
        return storage.join(self.results, REPORT)

    @property
    def bids(self) -> str:
        """Return the place of the BIDS dataset."""
        return storage.join(self.results, bids_dataset.FOLDER)


def read_study(path: Path) -> Study:
    """Return the study in the file `path`; its relative paths begin at the file's own folder.

    Raise `UserError`, a sentence that names the place in the file, for anything that could not be run: no such file, an
    unknown key, a participant listed twice, a missing video, a time outside of its recording.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the study's file, such as {path / DEFAULT}")
    try:
        given = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); `affectstream study init {shlex.quote(str(path))}` makes one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is no TOML ({error})") from error
    _check_keys(given, _PARTS, str(path))
    for name, kind in _PARTS.items():
        if not isinstance(given.get(name, kind()), kind):
            raise UserError(f"{path}: {name} is written {f'[{name}]' if kind is dict else f'[[{name}]]'}")
    study, options = given.get("study", {}), given.get("options", {})
    _check_keys(study, _STUDY, f"{path}: [study]")
    _check_keys(options, _OPTIONS, f"{path}: [options]")
    people = _participants(given.get("participant", []), path)
    recordings = [
        _recording(one, f"{path}: recording {n}", path.parent, people)
        for n, one in enumerate(given.get("recording", []), 1)
    ]
    if not recordings:
        raise UserError(f"{path}: there are no recordings; add a [[recording]] with video, participant and condition")
    _check_names(recordings, path)
    results = _text(study, "results", f"{path}: [study]", default="results")
    found = Study(
        _text(study, "name", f"{path}: [study]", default=path.stem),
        _place(path.parent, results),
        _reading(options, f"{path}: [options]"),
        tuple(recordings),
    )
    check_names(found.tasks(), found.reading)
    return found


def _participants(given: Iterable[Any], path: Path) -> list[str]:
    people: list[str] = []
    for n, one in enumerate(given, 1):
        where = f"{path}: participant {n}"
        _check_keys(one, _PARTICIPANT, where)
        name = _text(one, "id", where)
        if name in people:
            raise UserError(f"{where}: {name!r} is listed twice, first as participant {people.index(name) + 1}")
        people.append(name)
    if not people:
        raise UserError(f"{path}: there are no participants; add a [[participant]] with an id for each")
    return people


def _recording(given: Any, where: str, folder: Path, people: list[str]) -> Recording:
    _check_keys(given, _RECORDING, where)
    video = _text(given, "video", where)
    place = _place(folder, video)
    if not storage.exists(place):
        raise UserError(f"{where}: there is no file {storage.shown(printable(place))}; check video")
    participant = _text(given, "participant", where)
    if participant not in people:
        raise UserError(f"{where}: {participant!r} is no [[participant]]{_nearest(participant, people)}")
    start = _number(given, "start", where, default=0.0)
    end = _number(given, "end", where) if "end" in given else None
    if end is not None and end <= start:
        raise UserError(f"{where}: end {end:g} s is not after start {start:g} s")
    length = _length(place)
    limit = end if end is not None else math.inf
    if length is not None and start >= length:
        raise UserError(f"{where}: start {start:g} s is not within the recording, which is {length:.2f} s long")
    stimuli = [
        _stimulus(one, f"{where}, stimulus {n}", length) for n, one in enumerate(_list(given, "stimulus", where), 1)
    ]
    markers = _markers(given, where, folder)
    for mark in markers:
        if length is not None and mark.t > length:
            raise UserError(
                f"{where}: the marker {mark.label!r} at {mark.t:g} s lies outside the recording, which is "
                f"{length:.2f} s long; check its time and unit (seconds)"
            )
    return Recording(
        _text(given, "name", where, default=Path(video).stem),
        place,
        participant,
        _text(given, "condition", where, default=""),
        start,
        end,
        tuple(stimuli),
        tuple(mark for mark in markers if start <= mark.t < limit),
        _neutral(given, where, start, min(limit, length if length is not None else math.inf)),
    )


def _length(place: str) -> float | None:
    """Return the seconds of the recording at `place`; None where they are not known.

    A file that cannot be read keeps nobody from reading the others: the run names it.
    """
    if storage.is_address(place):
        return None
    try:
        return FileSource(Path(place), place, realtime=False).duration
    except UserError:
        return None


def _place(folder: Path, text: str) -> str:
    """Return the address or path that `text` names; a relative path begins at `folder`."""
    return text if storage.is_address(text) else str(folder / at_home(Path(text)))


def _neutral(given: Mapping[str, Any], where: str, start: float, end: float) -> float | None:
    """Return the second at which the neutral step begins; None without one."""
    if "neutral" not in given:
        return None
    at = _number(given, "neutral", where)
    if not (start <= at and at + NEUTRAL_SECONDS <= end):
        raise UserError(
            f"{where}: neutral: the {NEUTRAL_SECONDS:g} s from {at:g} s are not within what is read, "
            f"{start:g} to {end:g} s"
        )
    return at


def _stimulus(given: Any, where: str, length: float | None) -> Stimulus:
    _check_keys(given, _STIMULUS, where)
    start, end = _number(given, "start", where), _number(given, "end", where)
    label = _text(given, "label", where)
    if end <= start:
        raise UserError(f"{where}: end {end:g} s is not after start {start:g} s")
    if length is not None and start >= length:
        raise UserError(f"{where}: {label!r} from {start:g} s lies outside the recording, which is {length:.2f} s long")
    return Stimulus(label, start, end, _text(given, "condition", where) if "condition" in given else None)


def _markers(given: Mapping[str, Any], where: str, folder: Path) -> list[Marker]:
    """Return the markers, which are the name of a file or written in the study itself."""
    value = given.get("markers", [])
    if isinstance(value, str):
        return read_markers(folder / at_home(Path(_text(given, "markers", where))))
    found = []
    for n, one in enumerate(_list(given, "markers", where), 1):
        place = f"{where}, marker {n}"
        _check_keys(one, _MARKER, place)
        found.append(marker(_text(one, "label", place, default=""), one.get("time", ""), place))
    return sorted(found)


def _reading(options: Mapping[str, Any], where: str) -> Reading:
    fps = _number(options, "fps", where) if "fps" in options else None
    if fps is not None and fps <= 0:
        raise UserError(f"{where}: fps {fps:g} is not a number above 0")
    share = _number(options, "voice_share", where, default=1.0)
    if not 0 <= share <= 1:
        raise UserError(f"{where}: voice_share {share:g} is not between 0 and 1")
    for name in ("untrained", "voice", "gaze"):
        if not isinstance(options.get(name, True), bool):
            raise UserError(f"{where}: {name} is true or false, and not {options[name]!r}")
    return Reading(
        model=_text(options, "model", where, default=DEFAULT_MODEL),
        engine=_text(options, "engine", where, default=ENGINE),
        model_option=[str(one) for one in _list(options, "model_option", where)],
        untrained=options.get("untrained", False),
        voice=options.get("voice", True),
        voice_share=share,
        smoothing=_smoothing(options, where),
        gaze=options.get("gaze", False),
        fps=fps,
        pool=_option(options, "pool", where, read_pool),
        form=_option(options, "format", where, by_name),
        columns=_columns(options, where),
    )


def _smoothing(options: Mapping[str, Any], where: str) -> Smoothing:
    text = _text(options, "smoothing", where, default="normal")
    for known in _SMOOTHINGS:
        if text == known:
            return known
    raise UserError(f"{where}: smoothing is {', '.join(_SMOOTHINGS[:-1])} or {_SMOOTHINGS[-1]}, and not {text!r}")


def _option(options: Mapping[str, Any], key: str, where: str, check: Callable[[str], object]) -> str | None:
    """Return the text of an option that `check` accepts; None where it is left out."""
    if key not in options:
        return None
    text = _text(options, key, where)
    try:
        check(text)
    except UserError as error:
        raise UserError(f"{where}: {key}: {error}") from error
    return text


def _columns(options: Mapping[str, Any], where: str) -> Sequence[str]:
    if "columns" not in options:
        return DEFAULT_GROUPS
    names = [str(one) for one in _list(options, "columns", where)]
    try:
        return read_groups(",".join(names))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _check_names(recordings: Iterable[Recording], path: Path) -> None:
    seen: dict[str, int] = {}
    for n, one in enumerate(recordings, 1):
        if one.name in seen:
            raise UserError(
                f"{path}: recordings {seen[one.name]} and {n} are both called {one.name!r}; give one a name"
            )
        if not one.name or one.name.startswith(("/", ".")) or one.name.endswith("/") or ".." in one.name.split("/"):
            raise UserError(f"{path}: recording {n}: the name {one.name!r} is no name of a file below the results")
        seen[one.name] = n


def _check_keys(given: Any, known: Iterable[str], where: str) -> None:
    """Raise `UserError` for a key that is not known, with the nearest one that is."""
    if not isinstance(given, dict):
        raise UserError(f"{where}: {given!r} is no table of keys and values")
    known = list(known)
    for key in given:
        if key not in known:
            raise UserError(f"{where}: there is no key {key!r}{_nearest(key, known)}")


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _text(given: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = given.get(key, default)
    if value is None:
        raise UserError(f"{where}: {key} is missing")
    if not isinstance(value, str) or (not value.strip() and default is None):
        raise UserError(f'{where}: {key} is a text in quotes, such as "{key}1", and not {value!r}')
    if any(unicodedata.category(char) == "Cc" for char in value.strip()):
        raise UserError(f"{where}: {key} is a text in one line, without control characters, and not {value!r}")
    return value.strip()


def _number(given: Mapping[str, Any], key: str, where: str, default: float | None = None) -> float:
    value = given.get(key, default)
    if value is None:
        raise UserError(f"{where}: {key} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UserError(f"{where}: {key} is a number that is not negative, such as 12.5, and not {value!r}")
    return float(value)


def _list(given: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = given.get(key, [])
    if not isinstance(value, list):
        raise UserError(f"{where}: {key} is a list, and not {value!r}")
    return value
