"""Events into a file that is whole or not there: written aside in the same folder, renamed when done."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from engines.errors import UserError


class Writer(Protocol):
    """One file format."""

    def write(self, event: Mapping[str, Any]) -> None:
        """Takes an event (schema affect/1) in."""

    def close(self) -> None:
        """Brings everything that was taken in to the file; called once, also after a failed `write`."""


class JsonLines:
    """Every event whole, one per line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def write(self, event: Mapping[str, Any]) -> None:
        """One line. Raises ValueError at NaN, which is no JSON."""
        self._file.write(json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _csv(path: Path) -> Writer:
    from service.publish.export_csv import CsvTable

    return CsvTable(path)


def _parquet(path: Path) -> Writer:
    # Imported where used: pyarrow takes a third of a second, which `serve` need not wait for.
    from service.publish.export_parquet import ParquetTable

    return ParquetTable(path)


FORMATS: dict[str, Callable[[Path], Writer]] = {".jsonl": JsonLines, ".csv": _csv, ".parquet": _parquet}


class Export:
    """A file being written. As a context manager it keeps what is done when its block is left by an exception."""

    def __init__(self, path: Path, writer: Callable[[Path], Writer]) -> None:
        self.path = path
        self.events = 0  # written so far
        self.note = ""  # a sentence for the user when less than everything was kept
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._writer: Writer | None = writer(self._aside)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({_why(error)}); give --out a place that can") from error

    def write(self, event: Mapping[str, Any]) -> None:
        """Takes an event in. Raises `UserError` when the disk does not take it; the file is then given up."""
        assert self._writer is not None, "written to after close"
        try:
            self._writer.write(event)
        except OSError as error:
            writer, self._writer = self._writer, None
            with suppress(OSError):  # the same trouble once more
                writer.close()
            raise self._unfinished(error) from error
        self.events += 1

    def close(self) -> None:
        """Finishes the file and gives it its name, replacing what was there. A second call does nothing.
        Raises `UserError`.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            writer.close()
            with self._aside.open("rb") as file:
                os.fsync(file.fileno())  # else a crash soon after could leave the new name on an empty file
            self._aside.replace(self.path)
        except OSError as error:
            raise self._unfinished(error) from error

    def _unfinished(self, error: OSError) -> UserError:
        return UserError(
            f"{self.path}: not finished after {self.events} events ({_why(error)}); what reached the disk is in "
            f"{self._aside}; make room and run again"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            self._keep()

    def _keep(self) -> None:
        """What is done is kept; where nothing is done, what was there before stays."""
        if self.events:
            try:
                self.close()
            except UserError as error:  # the error that ended the block goes on; this one is told beside it
                self.note = str(error)
            else:
                self.note = f"{self.path}: stopped after {self.events} events, which are kept"
            return
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        self._aside.unlink(missing_ok=True)
        self.note = f"{self.path}: stopped before the first event; nothing was written"


def open_export(path: Path) -> Export:
    """A file for events, in the format of its suffix: .jsonl (whole events), .csv or .parquet (docs/exports.md).

    Raises `UserError` for another suffix, a folder that is not there, or a place that cannot be written to.
    """
    writer = FORMATS.get(path.suffix.lower())
    if writer is None:
        given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise UserError(f"{path}: {given} names no export format; use {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} is not there; make it first")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give --out the name of a file")
    return Export(path, writer)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
