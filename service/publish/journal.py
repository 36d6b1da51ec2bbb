"""Journals: the files beside an export in which its rows lie until it is finished, so that a killed run loses none.

A journal is called `NAME.<12 hexadecimal digits>.part`, is written line by line, and is locked by the process that
writes it. One that no process has locked was left by a run that was killed: the next run in that folder finishes it.
"""

import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<name>.+)\.[0-9a-f]{12}\.part")
_CHUNK = 1 << 16  # bytes that are read at once when the last whole line is searched


def create(path: Path) -> tuple[Path, IO[bytes] | None]:
    """Return a new empty journal of the export `path`, and an open file that keeps it locked until it is closed.

    The file is None where files cannot be locked; there no journal is finished by a later run. The journal is locked
    before it has its name, so that no other run takes it for one that was left. Raise `OSError` if the folder cannot be
    written.
    """
    token = secrets.token_hex(6)
    unlocked, journal = path.with_name(f".{path.name}.{token}"), path.with_name(f"{path.name}.{token}.part")
    unlocked.touch(exist_ok=False)
    held = None
    with suppress(OSError):
        held = lock(unlocked)
    unlocked.replace(journal)
    return journal, held


def target(journal: Path) -> Path:
    """Return the path of the export that `journal` is to become. Raise `ValueError` for a name of no journal."""
    found = _NAME.fullmatch(journal.name)
    if found is None:
        raise ValueError(f"{journal.name} is no name of a journal")
    return journal.with_name(found["name"])


def lock(journal: Path) -> IO[bytes] | None:
    """Return an open file that keeps `journal` locked until it is closed, and None if another process holds the lock.

    Raise `OSError` if the file cannot be opened or the system has no such locks.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise OSError("files cannot be locked") from error
    file = journal.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file


def recover(folder: Path, formats: Mapping[str, Callable[[Path], Path]]) -> None:
    """Finish the journals in `folder` that killed runs left.

    A journal becomes the export that it was to become, unless that file is newer: then a later run took its place, and
    the journal is removed. A journal without rows is removed too. What cannot be read or written is left as it is.

    Args:
        folder: Where exports are written.
        formats: For each suffix of an export, what turns a journal into that format and returns where it is; raises
            `ValueError` for what no such journal holds.
    """
    for journal in sorted(folder.glob("*.part")):
        found = _NAME.fullmatch(journal.name)
        if found is None or Path(found["name"]).suffix.lower() not in formats:
            continue
        with suppress(OSError):
            held = lock(journal)
            if held is None:
                continue
            with held:
                path = journal.with_name(found["name"])
                _finish(journal, path, formats[path.suffix.lower()])


def _finish(journal: Path, path: Path, finish: Callable[[Path], Path]) -> None:
    whole = _whole_lines(journal)
    newer = path.exists() and path.stat().st_mtime >= journal.stat().st_mtime
    if whole == 0 or newer:
        journal.unlink()
        return
    os.truncate(journal, whole)
    try:
        finish(journal).replace(path)
    except ValueError as error:  # not what such a journal holds
        log.warning("%s: left by a run that was killed, and cannot be finished (%s)", journal, error)
        return
    journal.unlink(missing_ok=True)
    log.warning("%s: the run that wrote it was killed; what it had done is kept", path)


def _whole_lines(journal: Path) -> int:
    """Return the length in bytes of the journal without a last line that was cut off."""
    with journal.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _CHUNK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
