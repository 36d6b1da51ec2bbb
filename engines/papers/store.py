"""The store of imported checkpoints: a folder of the cache with one file and one record for each model's name."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engines.cache import cache_dir
from engines.errors import WeightsError
from models.files import beside, sha256, write_text

LICENCE = "that of the checkpoint you imported"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Describe a checkpoint of the store.

    Attributes:
        name: The model that it belongs to.
        file: The name of the stored file, which lies beside the record.
        sha256: The SHA-256 of the stored file.
        origin: The name of the file that the user gave.
        origin_sha256: The SHA-256 of that file.
        swapped: Whether the network gives arousal before valence.
        options: The keyword arguments that the network is made with.
    """

    name: str
    file: str
    sha256: str
    origin: str
    origin_sha256: str
    swapped: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Return the path of the stored file."""
        return folder() / self.file


def folder() -> Path:
    """Return the folder of the store, which may not exist yet."""
    return cache_dir() / "checkpoints"


def add(
    name: str,
    origin: Path,
    write: Callable[[Path], object],
    suffix: str,
    *,
    swapped: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Put into the store what `write` writes to the path that it is given, as the checkpoint of `name`, and its record.

    An earlier checkpoint of that name is replaced. `origin` is the file that the user gave, and `suffix` the ending of
    the stored file. Raise `OSError` if the store cannot be written.
    """
    with beside(folder() / f"{name}{suffix}") as aside:
        write(aside)
        digest = sha256(aside)
        file = f"{name}-{digest[:12]}{suffix}"
        aside.replace(folder() / file)
    checkpoint = Checkpoint(name, file, digest, origin.name, sha256(origin), swapped, dict(options or {}))
    write_text(folder() / f"{name}.json", json.dumps(asdict(checkpoint), indent=1))
    return checkpoint


def keep(name: str, origin: Path, content: bytes, suffix: str = ".boosters") -> Checkpoint:
    """Put the checked `content` of the file `origin` into the store, in a file that ends in `suffix`.

    Raise `WeightsError` if it cannot be written.
    """
    try:
        return add(name, origin, lambda aside: aside.write_bytes(content), suffix)
    except OSError as error:
        raise WeightsError(f"{cache_dir()} cannot be written: {error}.") from error


def known(name: str) -> bool:
    """Return whether a checkpoint of the network `name` was imported, without reading it."""
    return (folder() / f"{name}.json").is_file()


def find(name: str) -> Checkpoint | None:
    """Return the checkpoint of the network `name`, or None if there is none. Raise `WeightsError` if it was altered."""
    record = folder() / f"{name}.json"
    try:
        checkpoint = Checkpoint(**json.loads(record.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{record} cannot be read ({error}); import the checkpoint again.") from error
    if not checkpoint.path.is_file() or sha256(checkpoint.path) != checkpoint.sha256:
        raise WeightsError(f"{checkpoint.path} is gone or was altered; import the checkpoint of {name} again.")
    return checkpoint


def table() -> list[dict[str, str]]:
    """Return the rows of imported checkpoints for `affectstream weights list`; they follow those of the manifest."""
    rows = []
    for record in sorted(folder().glob("*.json")):
        try:
            checkpoint = find(record.stem)
            state = "ready"
        except WeightsError:
            checkpoint, state = None, "altered"
        size = checkpoint.path.stat().st_size if checkpoint else 0
        rows.append(
            {
                "name": record.stem,
                "state": state,
                "size": f"{size / 1e6:.1f} MB",
                "licence": LICENCE,
                "commercial use": "ask its authors",
                "computes": f"{record.stem}, from {checkpoint.origin if checkpoint else 'a checkpoint'}",
            }
        )
    return rows
