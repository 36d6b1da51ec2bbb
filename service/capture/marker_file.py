"""Markers of a recording: labels with a time, such as the start of a stimulus, read from a CSV file."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import UserError
from service.capture.span import seconds
from service.printable import printable

# What the columns may be called: the plain words, those of other tables, and those of BIDS.
TIME_NAMES = ("time", "t", "timestamp", "onset", "seconds")
LABEL_NAMES = ("label", "marker", "trial_type", "event", "name")


@dataclass(frozen=True, slots=True, order=True)
class Marker:
    """Hold a label and the second of the recording's clock at which it lies."""

    t: float
    label: str


def read_markers(path: Path) -> list[Marker]:
    """Return the markers in a CSV file (commas, semicolons or tabs) with a column of labels and one of times.

    A time is written in seconds or as 0:01:30; where no comma divides the columns, it may be the decimal sign, as
    spreadsheets write it in many countries. The order is that of the times. Raise `UserError`, a sentence with the
    line, for a file that cannot be read, columns that are missing, or a time that is none.
    """
    shown = printable(path)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"{shown}: the markers cannot be read ({error.strerror}); check their file's name") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{shown}: is no text in UTF-8; save the markers as CSV with UTF-8") from error
    lines = io.StringIO(text, newline=None)  # a line ends as on any system; a label may hold other line ends
    separator = max(",;\t", key=lines.readline().count)
    lines.seek(0)
    try:
        return sorted(_markers(csv.DictReader(lines, delimiter=separator), shown, separator))
    except csv.Error as error:
        raise UserError(f"{shown}: is no CSV ({error}); check its quotes") from error


def _markers(reader: "csv.DictReader[str]", path: str, separator: str) -> Iterator[Marker]:
    columns = {name.strip().lower(): name for name in reader.fieldnames or [] if name}
    time = next((columns[name] for name in TIME_NAMES if name in columns), None)
    label = next((columns[name] for name in LABEL_NAMES if name in columns), None)
    if time is None or label is None:
        raise UserError(
            f"{path}: the first line names the columns {', '.join(columns) or '(none)'}; markers need a column label "
            "and a column time, in seconds of the recording"
        )
    for row in reader:
        name, at = (row[label] or "").strip(), (row[time] or "").strip()
        if not name and not at:
            continue
        if separator != ",":
            at = at.replace(",", ".")
        yield marker(name, at, f"{path}, line {reader.line_num}")


def marker(label: str, t: object, where: str) -> Marker:
    """Return the marker `label` at `t`, a number of seconds or a time such as 0:01:30.

    Raise `UserError`, beginning with `where`, if either is not valid.
    """
    try:
        at = seconds(str(t))
    except ValueError:
        raise UserError(
            f"{where}: {str(t)!r} is no time; write seconds from the recording's beginning, such as 12.5"
        ) from None
    if not label:
        raise UserError(f"{where}: the marker at {at:g} s has no label")
    return Marker(at, label)
