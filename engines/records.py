"""Records of the engines built on this machine: network, precision, and how it compared with its reference.

A record is kept under a key of network, runtime, device, precision and limits: where one of them changes, the engine is
built and compared anew. A record that cannot be read counts as missing.
"""

import hashlib
import json
import logging
import time
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from engines import verify
from engines.cache import cache_dir
from engines.verify import Comparison
from engines.weights import Weights
from models.files import write_text

log = logging.getLogger(__name__)

_LIMITS = (
    verify.MAX_VA_ERROR,
    verify.MIN_VA_CCC,
    verify.MIN_TOP_EXPRESSION,
    verify.MIN_AU_F1,
    verify.MAX_RELATIVE_ERROR,
)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Name what compiles and runs a network: the backend, its version, and the device with what it computes."""

    backend: str
    version: str
    device: str


@dataclass(frozen=True, slots=True)
class Record:
    """Hold what the comparison of one engine with its float32 reference gave."""

    model: str
    weights: str
    backend: str
    version: str  # of the backend
    device: str
    precision: str
    figures: Comparison
    built: float  # Unix seconds

    @property
    def fit(self) -> bool:
        """Return whether the engine may serve."""
        return self.figures.excess is None

    @property
    def refusal(self) -> str:
        """Return the sentence that says why the engine may not serve; "" if it may."""
        return "" if self.fit else f"{self.model} on {self.backend}:{self.precision} is refused: {self.figures.excess}."

    def row(self) -> dict[str, str]:
        """Return the row of `affectstream engines list`."""
        return {
            "model": self.model,
            "weights": self.weights,
            "engine": f"{self.backend}:{self.precision}",
            "runtime": self.version,
            "serves": "yes" if self.fit else f"refused: {self.figures.excess}",
            "against fp32": str(self.figures),
            "samples": str(self.figures.samples),
            "compared": time.strftime("%Y-%m-%d %H:%M", time.localtime(self.built)),
            "device": self.device,
        }


def key(entry: Weights, reference: Weights, precision: str, runtime: Runtime) -> str:
    """Return a key of everything that the result of a comparison depends on."""
    parts = [entry.sha256, reference.sha256, *astuple(runtime), precision, *_LIMITS]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def find(of: str) -> Record | None:
    """Return the record of that key, or None if there is none that can be read."""
    return _read(_folder() / f"{of}.json")


def everything() -> list[Record]:
    """Return all records in the cache by model and precision, those of other runtimes and devices too."""
    found = [record for file in _folder().glob("*.json") if (record := _read(file)) is not None]
    return sorted(found, key=lambda record: (record.model, record.precision, record.built))


def keep(of: str, entry: Weights, precision: str, runtime: Runtime, figures: Comparison) -> Record:
    """Write a record and return it. Where the cache cannot be written, the next start compares again."""
    record = Record(
        entry.model, entry.version or entry.name, runtime.backend, runtime.version, runtime.device, precision, figures,
        time.time(),
    )  # fmt: skip
    try:
        write_text(_folder() / f"{of}.json", json.dumps(asdict(record), indent=1))
    except OSError as error:
        log.warning("the comparison of %s cannot be kept in %s: %s", entry.model, cache_dir(), error.strerror)
    return record


def _folder() -> Path:
    """Return the folder of the records, which may not exist yet."""
    return cache_dir() / "engines"


def _read(file: Path) -> Record | None:
    """Return the record in a file, or None if it cannot be read."""
    try:
        fields = json.loads(file.read_text("utf-8"))
        return Record(**{**fields, "figures": Comparison(**fields["figures"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
