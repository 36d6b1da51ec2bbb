"""Events into a file that is whole or not there: written to a journal beside it, which is finished and renamed."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from models.errors import UserError
from service.publish import journal


class Writer(Protocol):
    """Write one file format."""

    def write(self, event: Mapping[str, Any]) -> None:
        """Take an event (schema affect/1) in; after it, the operating system has what belongs to it."""

    def close(self) -> Path:
        """Finish the file and return where it is. Called once, also after a failed `write`."""


class JsonLines:
    """Write every event whole, one per line."""

    def __init__(self, path: Path) -> None:
        """Begin the file `path`. Raise `OSError` if it cannot be written."""
        self._path = path
        self._file = path.open("w", buffering=1, encoding="utf-8", newline="\n")

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one line. Raise `ValueError` at NaN, which is no JSON."""
        self._file.write(json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n")

    def close(self) -> Path:
        """Close the file and return its path."""
        self._file.close()
        return self._path


def _csv(path: Path) -> Writer:
    from service.publish.export_csv import CsvTable

    return CsvTable(path)


def _parquet(path: Path) -> Writer:
    from service.publish.export_parquet import ParquetTable

    return ParquetTable(path)


FORMATS: dict[str, Callable[[Path], Writer]] = {".jsonl": JsonLines, ".csv": _csv, ".parquet": _parquet}


class Export:
    """Write a file of events. As a context manager it keeps what is done when its block is left by an exception.

    Attributes:
        path: The file.
        events: Events written so far.
        note: A sentence for the user when less than everything was kept; else empty.
    """

    def __init__(self, path: Path, writer: Callable[[Path], Writer]) -> None:
        """Begin the journal of `path` in the format of `writer`. Raise `UserError` if it cannot be written."""
        self.path = path
        self.events = 0
        self.note = ""
        self._lock: IO[bytes] | None = None
        try:
            self._journal, self._lock = journal.create(path)
            self._writer: Writer | None = writer(self._journal)
        except OSError as error:
            self._unlock()
            raise UserError(f"{path}: cannot be written ({_why(error)}); give --out a place that can") from error

    def write(self, event: Mapping[str, Any]) -> None:
        """Take an event in. Raise `UserError` when the disk does not take it; the file is then given up."""
        assert self._writer is not None, "written to after close"
        try:
            self._writer.write(event)
        except OSError as error:
            writer, self._writer = self._writer, None
            with suppress(OSError):  # closing meets the same trouble
                self._remove(writer.close())
            self._unlock()
            raise self._unfinished(error) from error
        self.events += 1

    def close(self) -> None:
        """Finish the file and give it its name, replacing an older one. A second call does nothing.

        Raise `UserError` when the disk does not take it; the journal then stays.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            finished = writer.close()
            with finished.open("rb") as file:
                os.fsync(file.fileno())  # else a crash soon after could leave the new name on an empty file
            finished.replace(self.path)
            self._journal.unlink(missing_ok=True)
        except OSError as error:
            raise self._unfinished(error) from error
        finally:
            self._unlock()

    def _unfinished(self, error: OSError) -> UserError:
        return UserError(
            f"{self.path}: not finished after {self.events} events ({_why(error)}); what reached the disk is in "
            f"{self._journal}; make room and run again"
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
        """Keep what is done; where nothing is done, an older file stays."""
        if self.events:
            try:
                self.close()
            except UserError as error:  # the error that ended the block is raised; this one is noted beside it
                self.note = str(error)
            else:
                self.note = f"{self.path}: stopped after {self.events} events, which are kept"
            return
        writer, self._writer = self._writer, None
        if writer is not None:
            self._remove(writer.close())
        self._unlock()
        self._journal.unlink(missing_ok=True)
        self.note = f"{self.path}: stopped before the first event; nothing was written"

    def _remove(self, finished: Path) -> None:
        """Remove what was made of the journal, and leave the journal itself."""
        if finished != self._journal:
            finished.unlink(missing_ok=True)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def open_export(path: Path) -> Export:
    """Return a file for events in the format of its suffix: .jsonl (whole events), .csv or .parquet (docs/exports.md).

    Journals that killed runs left in the same folder are finished first. Raise `UserError` for another suffix, a folder
    that is not there, or a place that cannot be written to.
    """
    writer = FORMATS.get(path.suffix.lower())
    if writer is None:
        given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise UserError(f"{path}: {given} names no export format; use {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} is not there; make it first")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give --out the name of a file")
    journal.recover(path.parent, {".jsonl": _lines, ".csv": _lines, ".parquet": _to_parquet})
    return Export(path, writer)


def _lines(left: Path) -> Path:
    """Return a journal as it is: its lines are the format already."""
    return left


def _to_parquet(left: Path) -> Path:
    from service.publish.export_parquet import finish

    return finish(left)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
