"""The machine and the versions that a measurement was taken with."""

import os
import platform
from collections.abc import Iterable
from typing import Any

from service.provenance import cpu, package_version


def facts(packages: Iterable[str]) -> dict[str, Any]:
    """Return CPU, system, the versions of `packages`, and the load of the last minute (None on Windows).

    The load shows whether anything else ran.
    """
    return {
        "cpu": f"{os.cpu_count()} x {cpu()}",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: package_version(package) or "not installed" for package in packages},
    }
