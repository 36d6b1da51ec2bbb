"""The machine and the versions that a measurement was taken with."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from service.provenance import cpu


def facts(packages: Iterable[str]) -> dict[str, Any]:
    """Return CPU, system, the versions of `packages`, and the load of the last minute (None on Windows).

    The load shows whether anything else ran.
    """
    return {
        "cpu": f"{os.cpu_count()} x {cpu()}",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in packages},
    }


def _version(package: str) -> str:
    """Return the version of a package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
