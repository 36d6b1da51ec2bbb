"""Markers of a recording: labels with a time, such as the start of a stimulus, read from a CSV file."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from models.errors import UserError

# What the columns may be called: the plain words, those of other tables, and those of BIDS.
TIME_NAMES = ("time", "t", "timestamp", "onset", "seconds")
LABEL_NAMES = ("label", "marker", "trial_type", "event", "name")


@dataclass(frozen=True, slots=True, order=True)
class Marker:
    """Hold a label and the second of the recording's clock at which it lies."""

    t: float
    label: str


def read_markers(path: Path) -> list[Marker]:
    """Return the markers in a CSV file (commas, semicolons or tabs) with a column of labels and one of seconds.

    The order is that of their times. Raise `UserError`, a sentence with the line, for a file that cannot be read,
    columns that are missing, or a time that is no number of seconds.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: the markers cannot be read ({error.strerror}); check --markers") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text in UTF-8; save the markers as CSV with UTF-8") from error
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(text.splitlines(), delimiter=separator)
    columns = {name.strip().lower(): name for name in reader.fieldnames or [] if name}
    time = next((columns[name] for name in TIME_NAMES if name in columns), None)
    label = next((columns[name] for name in LABEL_NAMES if name in columns), None)
    if time is None or label is None:
        raise UserError(
            f"{path}: the first line names the columns {', '.join(columns) or '(none)'}; markers need a column label "
            "and a column time, in seconds of the recording"
        )
    markers = []
    for row in reader:
        name, at = (row[label] or "").strip(), (row[time] or "").strip()
        if not name and not at:
            continue
        markers.append(marker(name, at, f"{path}, line {reader.line_num}"))
    return sorted(markers)


def marker(label: str, t: object, where: str) -> Marker:
    """Return the marker `label` at `t` seconds. Raise `UserError`, beginning with `where`, if either is not valid."""
    try:
        seconds = float(str(t))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{where}: {str(t)!r} is no time; write seconds from the recording's beginning, such as 12.5")
    if not label:
        raise UserError(f"{where}: the marker at {seconds:g} s has no label")
    return Marker(seconds, label)
