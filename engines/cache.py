"""Where files that can be had again are kept: fetched weights, compiled models. Never a picture or sound."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cache_dir() -> Path:
    """`AFFECTSTREAM_CACHE`, else `affectstream` in the platform's cache folder of this user. Not created here."""
    if chosen := os.environ.get("AFFECTSTREAM_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "affectstream"


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Waits until no other process of this user is inside for the same `name`. Where there can be no lock, as on
    Windows or in a folder that cannot be written, nobody waits.
    """
    lock = None
    with suppress(ImportError, OSError):
        import fcntl

        cache_dir().mkdir(parents=True, exist_ok=True)
        lock = (cache_dir() / f"{name}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if lock is not None:
            lock.close()
