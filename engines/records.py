"""What is known of engines built on this machine: which network, in what precision, and how it compared.

A record is as good as its key: network, runtime, device, precision and the probe it was compared on. Change one and the
engine is built and compared anew; a record that cannot be read counts as none.
"""

import hashlib
import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import openvino as ov

from engines import verify
from engines.cache import cache_dir
from engines.openvino import capabilities, core
from engines.probe import COUNT
from engines.verify import Figures
from engines.weights import Weights

_LIMITS = (
    verify.MAX_VA_ERROR,
    verify.MIN_VA_CCC,
    verify.MIN_TOP_EXPRESSION,
    verify.MIN_AU_F1,
    verify.MAX_RELATIVE_ERROR,
)


@dataclass(frozen=True, slots=True)
class Record:
    """One engine and what its comparison with the fp32 reference gave."""

    model: str
    weights: str
    backend: str
    runtime: str  # version of the backend
    device: str
    precision: str
    figures: Figures
    built: float  # Unix seconds

    @property
    def fit(self) -> bool:
        """Whether it may serve."""
        return self.figures.excess is None


def key(entry: Weights, reference: Weights, precision: str) -> str:
    """Names everything that the result of a comparison depends on."""
    device = [core().get_property("CPU", "FULL_DEVICE_NAME"), *sorted(capabilities())]
    parts = [entry.sha256, reference.sha256, "openvino", ov.get_version(), *device, precision, COUNT, *_LIMITS]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def find(of: str) -> Record | None:
    """The record of that key; None if there is none, or none that can be read."""
    return _read(_folder() / f"{of}.json")


def everything() -> list[Record]:
    """All records on this machine, by model and precision; old ones of other runtimes too."""
    found = [record for file in _folder().glob("*.json") if (record := _read(file)) is not None]
    return sorted(found, key=lambda record: (record.model, record.precision, record.built))


def keep(of: str, entry: Weights, precision: str, figures: Figures) -> Record:
    """Writes a record, aside and renamed. A cache that cannot be written only costs the next start a comparison."""
    device = str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    record = Record(
        entry.model, entry.version or entry.name, "openvino", ov.get_version(), device, precision, figures, time.time()
    )
    with suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=_folder(), suffix=".part")
        with os.fdopen(handle, "w") as out:
            json.dump(asdict(record), out, indent=1)
        os.replace(aside, _folder() / f"{of}.json")
    return record


def _folder() -> Path:
    return cache_dir() / "engines"


def _read(file: Path) -> Record | None:
    try:
        fields = json.loads(file.read_text("utf-8"))
        return Record(**{**fields, "figures": Figures(**fields["figures"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
