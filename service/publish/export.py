"""Write events to a file that is complete or absent: a journal beside it takes them, and is renamed at the end."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from models.errors import UserError
from service import audit
from service.publish import journal
from service.publish.formats.format import Format, Making, Writer
from service.publish.formats.registry import FORMATS, format_of


class StandardOutput:
    """Write whole events, one a line, to standard output, each as soon as it is there."""

    path = Path("-")
    note = ""
    landmarks = False

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one line. Raise `BrokenPipeError` when the reader has ended."""
        sys.stdout.write(json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n")
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave standard output open."""


class Export:
    """Write a file of events. As a context manager it keeps what is done when its block is left by an exception.

    Attributes:
        path: The file.
        events: Events written so far.
        note: A sentence for the user when less than everything was kept; else empty.
        landmarks: Whether the events that are written are to have the 68 points of each face.
    """

    def __init__(self, path: Path, writer: Callable[[Path], Writer], form: Format | None = None) -> None:
        """Begin the journal of `path` in the format of `writer`. Raise `UserError` if it cannot be written."""
        self.path = path
        self.events = 0
        self.landmarks = form is not None and form.landmarks
        self._format = form.name if form is not None else path.suffix.lower().lstrip(".")
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
        audit.write("export", format=self._format, events=self.events)

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


def open_export(path: Path, making: Making | None = None, form: str | None = None) -> Export:
    """Return a file for events in the format called `form`, or that of its suffix (docs/exports.md).

    Journals that killed runs left in the same folder are finished first. Raise `UserError` for another suffix, a name
    that the format does not allow, a folder that is not there, or a place that cannot be written to.
    """
    chosen = format_of(path, form)
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} is not there; make it first")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give --out the name of a file")
    journal.recover(path.parent, {Path(one.suffix).suffix or one.suffix: one.finish for one in FORMATS})
    given = making or Making()
    return Export(path, lambda lines: chosen.open(lines, given), chosen)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
