"""Where files that can be had again are kept: fetched weights, compiled models. Never a picture or sound."""

import os
import sys
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
