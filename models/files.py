"""Files that are written whole or not at all, and their hashes."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def at_home(path: Path) -> Path:
    """Return `path` with a leading ~ replaced by the home folder, as it is where there is no such user.

    A shell does it only where a path is not in quotes and begins a word.
    """
    return Path(os.path.expanduser(path))  # Path.expanduser raises for an unknown user


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield the path of a new temporary file beside `path`, and remove it at the end unless the block has moved it.

    The folder of `path` is made if it is missing. No two writers ever share a temporary file. Raises `OSError` if the
    folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.part{path.suffix}")
    aside.touch(exist_ok=False)
    try:
        yield aside
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`, and rename it to `path` when the block ends without an error.

    Where the block raises, `path` stays as it was, so that a reader never sees half a file. Raises `OSError` if the
    folder cannot be written.
    """
    with beside(path) as aside:
        yield aside
        aside.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all. Raises `OSError` if the folder cannot be written."""
    with written_whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits. Raises `OSError` if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
