"""A file system of the tests' own, `shelf://`: a folder behind fsspec, found by child processes as packages' are.

A recording whose name begins with "killer" kills the process that opens it, as a decoder's fault would.
"""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem


class Shelf(LocalFileSystem):  # type: ignore[misc]
    protocol = "shelf"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return LocalFileSystem._strip_protocol(str(path).removeprefix("shelf://"))

    def _open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        if Path(path).name.startswith("killer") and "r" in mode:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._open(path, mode, **more)


def install(folder: Path) -> str:
    """Make the file system known to every Python with `folder` in its path; return such a path."""
    info = folder / "shelf-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(__file__, folder / "shelf.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fsspec.specs]\nshelf = shelf:Shelf\n")
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
