"""The formats of exports, a row for each; the first with its suffix is what a file's name alone asks for."""

from pathlib import Path

from models.errors import UserError
from service.publish import table
from service.publish.formats import bids, elan
from service.publish.formats.format import Format, Making, Writer
from service.publish.formats.json_lines import JsonLines
from service.publish.formats.openface import open_openface
from service.publish.formats.pyfeat import open_pyfeat


def _jsonl(path: Path, making: Making) -> Writer:
    return JsonLines(path)


def _csv(path: Path, making: Making) -> Writer:
    from service.publish.export_csv import CsvTable

    return CsvTable(path, table.columns(making.columns))


def _parquet(path: Path, making: Making) -> Writer:
    from service.publish.export_parquet import ParquetTable

    return ParquetTable(path, making)


def _lines(left: Path) -> Path:
    """Return a journal as it is: its lines are the format already."""
    return left


def _to_parquet(left: Path) -> Path:
    from service.publish.export_parquet import finish

    return finish(left)


FORMATS = (
    Format("jsonl", ".jsonl", _jsonl, _lines),
    Format("csv", ".csv", _csv, _lines),
    Format("parquet", ".parquet", _parquet, _to_parquet),
    Format("openface", ".csv", open_openface, _lines, landmarks=True),
    Format("pyfeat", ".csv", open_pyfeat, _lines, landmarks=True),
    Format("bids", bids.SUFFIX, bids.open_bids, bids.finish, timed=True, check=bids.check_name),
    Format("elan", ".eaf", elan.open_elan, elan.finish, timed=True),
)
OF_OTHERS = ("openface", "pyfeat", "bids", "elan")  # what `--format` chooses; the others go by the suffix alone


def format_of(path: Path, name: str | None = None) -> Format:
    """Return the format called `name`, or that of the file's suffix.

    Raise `UserError` for a suffix of no format, or a file's name that the format does not allow.
    """
    if name is None:
        found = next((one for one in FORMATS if one.name not in OF_OTHERS and one.suffix == path.suffix.lower()), None)
        if found is None:
            given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
            known = ", ".join(one.suffix for one in FORMATS if one.name not in OF_OTHERS)
            raise UserError(f"{path}: {given} names no export format; use {known}")
        return found
    found = by_name(name)
    if not path.name.lower().endswith(found.suffix):
        raise UserError(f"{path}: --format {name} writes files that end with {found.suffix}; change --out")
    found.check(path)
    return found


def by_name(name: str) -> Format:
    """Return the format called `name`. Raise `UserError` if there is none."""
    found = next((one for one in FORMATS if one.name == name), None)
    if found is None:
        raise UserError(f"there is no format {name!r}; known are {', '.join(OF_OTHERS)}")
    return found
