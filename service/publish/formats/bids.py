"""BIDS 1.9 and later: a continuous recording (`_physio.tsv.gz` with its `.json`) and its events (`_events.tsv`).

A face's values are a continuous recording in the words of the specification, "Physiological recordings": compressed
table without header, columns and sampling frequency in the JSON file beside it, unknown values n/a. BIDS wants equal
steps. Pictures of a film that come in equal steps are the samples; where they do not (a webcam), each sample is the
picture nearest to it, at most half a step away, and n/a where there is none. `timestamp` is always the picture's own.
"""

import gzip
import json
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectstream import __version__
from models.errors import UserError
from models.files import write_text
from service.publish import dictionary, journal, table
from service.publish.formats.episodes import BLINK, GESTURE, MARKER, Episode, Episodes
from service.publish.formats.format import Making, Writer
from service.publish.formats.json_lines import ConvertedAtEnd, events_of

SUFFIX = "_physio.tsv.gz"
EVENT_COLUMNS = ("onset", "duration", "trial_type", "face")
_OWN_MEANING = {  # of columns; the specification itself says what onset and duration are
    "trial_type": "A marker's label, or blink, nod or shake",
    "face": "The face_id that blinked, nodded or shook its head; n/a for a marker",
}
_ENTITIES = re.compile(r"sub-[0-9A-Za-z]+(_[a-z]+-[0-9A-Za-z]+)*_task-[0-9A-Za-z]+(_[a-z]+-[0-9A-Za-z]+)*")
_LEFT_OUT = ("frame", "face_id", "trained", "last_marker_t")  # the same for every sample, or of the events' file
_UNITS = {"degrees": "deg", "pixels": "px"}
_MISSING = "n/a"


@dataclass(slots=True)
class _Faces:
    """Hold the seconds of all pictures, and for each track the number of the picture and the cells of each row."""

    columns: Sequence[str]
    t: "array[float]" = field(default_factory=lambda: array("d"))
    pictures: "dict[int, array[int]]" = field(default_factory=lambda: defaultdict(lambda: array("q")))
    cells: "dict[int, array[float]]" = field(default_factory=lambda: defaultdict(lambda: array("d")))
    read: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event in."""
        if not table.has_picture(event):
            return
        for row in table.rows(event, len(self.t) + 1):
            if "face_id" in row:
                track = row["face_id"]
                self.pictures[track].append(len(self.t))
                self.cells[track].extend(np.nan if row.get(name) is None else row[name] for name in self.columns)
                self.read[track] += row["success"]
        self.t.append(event["t"])

    def tracks(self) -> list[int]:
        """Return the tracks, the one first that was read in most pictures."""
        return sorted(self.cells, key=lambda track: (-self.read[track], track))

    def values(self, track: int) -> NDArray[np.float64]:
        """Return (pictures, columns), NaN where the track is not in a picture or a value is unknown."""
        whole = np.full((len(self.t), len(self.columns)), np.nan)
        rows = np.frombuffer(self.cells[track], np.float64).reshape(-1, len(self.columns))
        whole[np.frombuffer(self.pictures[track], np.int64)] = rows
        return whole


def check_name(path: Path) -> None:
    """Raise `UserError` for a name that BIDS does not allow."""
    if not path.name.endswith(SUFFIX) or _ENTITIES.fullmatch(path.name.removesuffix(SUFFIX)) is None:
        raise UserError(
            f"{path.name}: BIDS names a recording by its subject and task, such as sub-01_task-film{SUFFIX}; rename it"
        )


def open_bids(path: Path, making: Making) -> Writer:
    """Return a writer of BIDS's files. Raise `OSError` if `path` cannot be written."""
    return ConvertedAtEnd(path, lambda lines: finish(lines, making))


def finish(lines: Path, making: Making | None = None) -> Path:
    """Turn a journal of JSON lines into the recording of the face that was read most, and return where that is.

    The files beside it get their own names at once: its JSON, those of further faces, and the events with theirs.
    """
    making = making or Making()
    target = journal.target(lines)
    columns = [
        one for one in table.columns(making.columns) if one.kind != "text" and one.name not in _LEFT_OUT
    ]  # fmt: skip
    faces, episodes = _Faces([one.name for one in columns]), Episodes()
    for event in events_of(lines):
        faces.take(event)
        episodes.take(event)
    made = lines.with_name(f"{lines.name}.gz")
    samples, rate = grid(np.frombuffer(faces.t, np.float64) if faces.t else np.empty(0))
    start = faces.t[0] if faces.t else 0.0
    tracks = faces.tracks()
    for place, track in enumerate(tracks or [None]):
        path = target if place == 0 else _of_face(target, track)
        values = np.empty((0, len(columns))) if track is None else _at(faces.values(track), samples)
        _write_table(made if place == 0 else path, columns, values)
        facts = {"Face": track, "Affectstream": dict(making.facts())}
        _write_json(_beside(path), {**_sidecar(columns, rate, start), **facts})
    _write_events(target, episodes.all())
    return made


def grid(t: NDArray[np.float64]) -> tuple[NDArray[np.int64], float | None]:
    """Return (samples,) the number of the picture of each sample, -1 for none, and the samples a second.

    `t` is (pictures,) in seconds. The rate is None where there are fewer than two pictures.
    """
    if len(t) < 2 or t[-1] <= t[0]:
        return np.arange(len(t)), None
    numbers = np.arange(len(t))
    mean = (t[-1] - t[0]) / (len(t) - 1)
    if np.abs(t - (t[0] + numbers * mean)).max() < mean / 2:
        return numbers, float(1 / mean)
    step = float(np.median(np.diff(t)[np.diff(t) > 0]))
    at = t[0] + step * np.arange(int(np.floor((t[-1] - t[0]) / step + 0.5)) + 1)
    after = np.searchsorted(t, at).clip(1, len(t) - 1)
    nearest = np.where(at - t[after - 1] <= t[after] - at, after - 1, after)
    return np.where(np.abs(t[nearest] - at) <= step / 2, nearest, -1), 1 / step


def _at(values: NDArray[np.float64], samples: NDArray[np.int64]) -> NDArray[np.float64]:
    found = values[samples]
    found[samples < 0] = np.nan
    return found


def _write_table(path: Path, columns: Sequence[table.Column], values: NDArray[np.float64]) -> None:
    whole = [column.kind == "int" for column in columns]
    # Without the time of writing in it, the same recording gives the same file.
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for row in values.tolist():
            packed.write(("\t".join(map(_cell, row, whole)) + "\n").encode("ascii"))


def _cell(value: float, whole: bool) -> str:
    if value != value:
        return _MISSING
    return str(int(value)) if whole else repr(value)


def _sidecar(columns: Sequence[table.Column], rate: float | None, start: float) -> dict[str, Any]:
    described = {
        one.column: {"Description": one.description, **({"Units": _UNITS.get(one.unit, one.unit)} if one.unit else {})}
        for one in dictionary.entries(columns)
    }
    return {
        "SamplingFrequency": _MISSING if rate is None else round(rate, 6),
        "StartTime": start,
        "Columns": [column.name for column in columns],
        "SoftwareVersions": f"Affectstream {__version__}",
        **described,
    }


def _write_events(target: Path, found: Iterable[Episode]) -> None:
    """Write the events of a recording; without one, the table has its header alone."""
    wanted = [episode for episode in found if episode.kind in (MARKER, BLINK, GESTURE)]
    lines = ["\t".join(EVENT_COLUMNS)]
    for episode in wanted:
        label = episode.label.replace("\t", " ")
        face = _MISSING if episode.track is None else str(episode.track)
        lines.append(f"{episode.start:.3f}\t{episode.end - episode.start:.3f}\t{label}\t{face}")
    matches = re.sub(r"_recording-[0-9A-Za-z]+", "", target.name.removesuffix(SUFFIX))
    write_text(target.with_name(f"{matches}_events.tsv"), "\n".join(lines) + "\n")
    described = {name: {"Description": words} for name, words in _OWN_MEANING.items()}
    _write_json(target.with_name(f"{matches}_events.json"), described)


def _of_face(target: Path, track: int | None) -> Path:
    """Return the name of a further face's file: its recording is called face and its number."""
    matches = target.name.removesuffix(SUFFIX)
    entity = "" if "_recording-" in matches else "_recording-"
    return target.with_name(f"{matches}{entity}face{track}{SUFFIX}")


def _beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".tsv.gz") + ".json")


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
