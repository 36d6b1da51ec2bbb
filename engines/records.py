"""What is known of engines built on this machine: which network, in what precision, and how it compared.

A record is as good as its key: network, runtime, device, precision and limits. Change one and the engine is built and
compared anew; a record that cannot be read counts as none.
"""

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from engines import verify
from engines.cache import cache_dir
from engines.verify import Figures
from engines.weights import Weights

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
    """What compiles and runs: the backend's name and version, and the device with what it can do."""

    backend: str
    version: str
    device: str


@dataclass(frozen=True, slots=True)
class Record:
    """One engine and what its comparison with the fp32 reference gave."""

    model: str
    weights: str
    backend: str
    version: str  # of the backend
    device: str
    precision: str
    figures: Figures
    built: float  # Unix seconds

    @property
    def fit(self) -> bool:
        """Whether it may serve."""
        return self.figures.excess is None

    @property
    def refusal(self) -> str:
        """Return the sentence that says why the engine may not serve; "" if it may."""
        return "" if self.fit else f"{self.model} on {self.backend}:{self.precision} is refused: {self.figures.excess}."

    def row(self) -> dict[str, str]:
        """For `affectstream engines list`."""
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
    """Names everything that the result of a comparison depends on."""
    parts = [entry.sha256, reference.sha256, *astuple(runtime), precision, *_LIMITS]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def find(of: str) -> Record | None:
    """The record of that key; None if there is none, or none that can be read."""
    return _read(_folder() / f"{of}.json")


def everything() -> list[Record]:
    """All records on this machine, by model and precision; old ones of other runtimes too."""
    found = [record for file in _folder().glob("*.json") if (record := _read(file)) is not None]
    return sorted(found, key=lambda record: (record.model, record.precision, record.built))


def keep(of: str, entry: Weights, precision: str, runtime: Runtime, figures: Figures) -> Record:
    """Writes a record, aside and renamed. A cache that cannot be written only costs the next start a comparison."""
    record = Record(
        entry.model, entry.version or entry.name, runtime.backend, runtime.version, runtime.device, precision, figures,
        time.time(),
    )  # fmt: skip
    file = _folder() / f"{of}.json"
    aside = file.with_suffix(f".{os.getpid()}.part")
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(asdict(record), indent=1), "utf-8")
        os.replace(aside, file)
    except OSError as error:
        log.warning("what was measured of %s cannot be kept in %s: %s", entry.model, cache_dir(), error.strerror)
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return record


def _folder() -> Path:
    return cache_dir() / "engines"


def _read(file: Path) -> Record | None:
    try:
        fields = json.loads(file.read_text("utf-8"))
        return Record(**{**fields, "figures": Figures(**fields["figures"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
