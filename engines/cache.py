"""The folder of files that can be had again: fetched weights, compiled models. It never holds a picture or a sound."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_VARIABLE = "AFFECTSTREAM_CACHE"


def cache_dir() -> Path:
    """Return the cache folder: `AFFECTSTREAM_CACHE`, else `affectstream` in this user's cache folder.

    The folder is not created here.
    """
    if chosen := os.environ.get(_VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "affectstream"


@contextmanager
def empty_cache(*kept: str) -> Iterator[Path]:
    """Use a temporary cache inside the block, for this process and those that it starts, and remove it afterwards.

    It starts empty but for copies of the folders `kept` of the cache used so far: files that were fetched ("weights")
    or that the user imported ("checkpoints"). What an earlier run computed is in neither, so that a measurement or a
    test that needs such a file makes it, or fails.
    """
    before, chosen = cache_dir(), os.environ.get(_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="affectstream-cache-", ignore_cleanup_errors=True) as folder:
        for name in kept:
            if (before / name).is_dir():
                shutil.copytree(before / name, Path(folder) / name, ignore=shutil.ignore_patterns("untrained"))
        os.environ[_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            if chosen is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = chosen


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Run the block while no other process of this user runs a block of the same `name`; wait for that if need be.

    There is no wait where no lock can be had, as on Windows or in a folder that cannot be written.
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
