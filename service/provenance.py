"""What made a file of results: version, commit, weights, engine, machine, options and the input's hash.

It is written beside each result (`RESULT.meta.json`), and into a Parquet file's own metadata, so that a table can be
traced after years.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from affectstream import __version__
from models.errors import UserError
from models.files import sha256, write_text
from service.printable import printable
from service.redact import redact
from service.runtime import Runtime

SCHEMA = "affectstream-result/1"
SUFFIX = ".meta.json"  # of the file beside a result
_PACKAGES = ("av", "numpy", "opencv-python-headless", "openvino", "pyarrow")  # what the numbers depend on


@dataclass(frozen=True, slots=True)
class Input:
    """Hold what identifies an input; the hash, size and time are None for an input that is no file."""

    name: str
    sha256: str | None = None
    bytes: int | None = None
    modified: float | None = None  # Unix seconds

    @classmethod
    def of(cls, source: str) -> "Input":
        """Return the facts about `source`, a path, `file:PATH` or an address. Raise `UserError` if it is unreadable."""
        name = source.removeprefix("file:")
        path = next((path for path in map(Path, (source, name)) if _is_file(path)), None)
        if path is None:
            return cls(printable(redact(source)))
        try:
            facts = path.stat()
            return cls(printable(path), sha256(path), facts.st_size, facts.st_mtime)
        except OSError as error:
            raise UserError(f"{printable(path)} cannot be read: {error.strerror}") from error


def about(runtime: Runtime, of: Input, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known before the first event: everything but the outcome, ready for JSON."""
    return {
        "schema": SCHEMA,
        "affectstream": __version__,
        "commit": commit(),
        "input": asdict(of),
        "model": dict(runtime.info),
        "weights_sha256": runtime.weights_sha256(),
        "options": dict(options),
        "machine": machine(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def sidecar(result: Path) -> Path:
    """Return the path of the file beside `result` that says what made it."""
    return result.with_name(result.name + SUFFIX)


def write_sidecar(result: Path, facts: Mapping[str, Any]) -> None:
    """Write `facts` beside `result`. Raise `UserError` if the file cannot be written."""
    try:
        write_text(sidecar(result), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{sidecar(result)}: cannot be written ({error.strerror}); make room and run again") from error


@cache
def commit() -> str | None:
    """Return the commit of the source tree that runs, with "+" if files differ from it; None outside of a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        done = subprocess.run(("git", "-C", str(root), *arguments), capture_output=True, check=True)
        return done.stdout.decode(errors="replace")

    try:
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def machine() -> dict[str, Any]:
    """Return the processor, the system and the versions of what the numbers depend on."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: package_version(package) for package in _PACKAGES},
    }


def cpu() -> str:
    """Return the name of the processor."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text("utf-8").splitlines() if listed.is_file() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def package_version(package: str) -> str | None:
    """Return the version of a package that is installed, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or a null byte
        return False
