"""Checkpoints that a user brought: read without running them, checked against their network, kept in the cache.

The papers' systems come without weights. What `affectstream weights import` took in is found by the model's name
afterwards; a model without weights runs only where that was asked for, on random ones, and says so in every event.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from engines.cache import cache_dir
from engines.errors import WeightsError
from engines.papers import export
from engines.weights import Source, Weights
from models import registry

if TYPE_CHECKING:
    from engines.papers.live_networks import LiveNetwork

SYSTEMS = registry.systems()
LICENCE = "that of the checkpoint you imported"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint in the store. `file` lies beside the record; `options` are what its network is made with."""

    name: str
    file: str
    sha256: str  # of the stored file
    origin: str  # name of the file that was given
    origin_sha256: str
    swapped: bool = False  # arousal before valence
    options: Mapping[str, Any] = field(default_factory=dict)


def take_in(name: str, files: Sequence[Path], *, swapped: bool = False, options: Mapping[str, Any]) -> Checkpoint:
    """Checks a published checkpoint of the network `name` and puts it into the store, replacing an earlier one.

    `files`: one; for `descriptors-ensemble` two, of the face with its surroundings and of the aligned face. An .npz of
    TensorFlow variables is taken for `affwildnet`. Raises `WeightsError` with what is missing, unexpected or of another
    shape, and for a pickle that would run code.
    """
    if name == "multiterm":
        from engines.papers import boosted

        return boosted.take_in(files)
    if name not in models.available():
        known = ", ".join((*models.available(), "multiterm"))
        raise WeightsError(f"There is no network {name!r}; there are: {known}.")
    try:
        import torch

        from models import checkpoint
        from models.errors import ModelError
        from models.networks import tensorflow
    except ImportError:
        raise WeightsError("Importing a checkpoint needs PyTorch: pip install 'affectstream[train]'.") from None
    wanted = 2 if name == "descriptors-ensemble" and len(files) == 2 else 1
    if len(files) != wanted:
        raise WeightsError(f"A checkpoint of {name} is one file, not {len(files)}.")
    origin = files[0]
    try:
        if origin.suffix == ".npz" and name == "affwildnet":
            import numpy as np

            options = {"landmarks": False, "reset": "before", **options}
            with np.load(origin, allow_pickle=False) as variables:
                state = tensorflow.state_dict(dict(variables))
        elif len(files) == 2:
            state = {
                f"{part}.{key}": value
                for part, file in zip(("context", "aligned"), files, strict=True)
                for key, value in checkpoint.state_dict(checkpoint.read(file), file).items()
            }
            options = {"heads": "linear" if "context.emotion_classifiers.1.weight" in state else "mlp", **options}
        else:
            state = checkpoint.state_dict(checkpoint.read(origin), origin)
        checkpoint.load_into(models.create(name, **options), state, origin)
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{name}.part"
        checkpoint.save(aside, {"state_dict": {key: torch.as_tensor(value) for key, value in state.items()}})
    except ModelError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(f"{origin} cannot be read, or {cache_dir()} not written: {error}.") from error
    return _record(name, origin, aside, ".pt", swapped=swapped, options=options)


def keep(name: str, origin: Path, content: bytes) -> Checkpoint:
    """Puts the checked `content` of the file `origin` into the store. Raises `WeightsError` if it cannot be written."""
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{name}.part"
        aside.write_bytes(content)
        return _record(name, origin, aside, ".boosters")
    except OSError as error:
        raise WeightsError(f"{cache_dir()} cannot be written: {error}.") from error


def stored(taken: Checkpoint) -> Path:
    """Where a checkpoint of the store lies."""
    return _folder() / taken.file


def _record(
    name: str,
    origin: Path,
    aside: Path,
    suffix: str,
    *,
    swapped: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Moves `aside` into place and writes its record."""
    sha256 = _sha256(aside)
    file = f"{name}-{sha256[:12]}{suffix}"
    os.replace(aside, _folder() / file)
    taken = Checkpoint(name, file, sha256, origin.name, _sha256(origin), swapped, dict(options or {}))
    _write(_folder() / f"{name}.json", json.dumps(asdict(taken), indent=1))
    return taken


def find(name: str) -> Checkpoint | None:
    """The checkpoint of the network `name`; None if there is none. Raises `WeightsError` if it was altered."""
    record = _folder() / f"{name}.json"
    try:
        taken = Checkpoint(**json.loads(record.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{record} cannot be read ({error}); import the checkpoint again.") from error
    file = _folder() / taken.file
    if not file.is_file() or _sha256(file) != taken.sha256:
        raise WeightsError(f"{file} is gone or was altered; import the checkpoint of {name} again.")
    return taken


def table() -> list[dict[str, str]]:
    """Rows for `affectstream weights list`, after those of the manifest."""
    rows = []
    for record in sorted(_folder().glob("*.json")):
        try:
            taken = find(record.stem)
            state = "ready"
        except WeightsError:
            taken, state = None, "altered"
        size = (_folder() / taken.file).stat().st_size if taken else 0
        rows.append(
            {
                "name": record.stem,
                "state": state,
                "size": f"{size / 1e6:.1f} MB",
                "licence": LICENCE,
                "commercial use": "ask its authors",
                "computes": f"{record.stem}, from {taken.origin if taken else 'a checkpoint'}",
            }
        )
    return rows


def parts(name: str) -> tuple[str, ...]:
    """The networks that the model `name` is made of; each has its own checkpoint."""
    return registry.row(name).parts


def system(name: str, *, untrained: bool = False, options: Mapping[str, Mapping[str, Any]] | None = None) -> Weights:
    """The weights of a paper's system, as ONNX in its live form. `options`, by part, are for random networks.

    Raises `WeightsError` if there are none and `untrained` was not asked for, or if torch is needed and missing.
    """
    found = {part: find(part) for part in parts(name)}
    missing = [part for part, taken in found.items() if taken is None]
    if missing and not untrained:
        commands = " and ".join(f"`affectstream weights import {part} FILE`" for part in missing)
        raise WeightsError(
            f"There are no weights for {name}: take in a published checkpoint with {commands}, or add --untrained "
            "to see the system run on random weights, whose numbers mean nothing."
        )
    if missing:
        made_with = {part: {} for part in parts(name)} if options is None else options
        file = export.exported(name, dict.fromkeys(parts(name)), options=made_with)
        version, trained = f"{name}-untrained", False
        licence, origin = "Apache-2.0", "nothing: random weights"
    else:
        taken_in = {part: taken for part, taken in found.items() if taken is not None}
        file = export.exported(
            name,
            {part: _folder() / taken.file for part, taken in taken_in.items()},
            options={part: taken.options for part, taken in taken_in.items()},
            swapped=taken_in[name].swapped,
        )
        version, trained = f"{name}-{taken_in[name].origin_sha256[:8]}", True
        licence = LICENCE
        origin = ", ".join(f"{taken.origin} (imported)" for taken in taken_in.values())
    return Weights(
        name=version,
        file=file.name,
        computes=f"the live form of {name}",
        licence=licence,
        commercial=False,
        trained_on=origin,
        sha256=_sha256(file),
        size=file.stat().st_size,
        sources=(Source(path=str(file)),),
        model=name,
        version=version,
        trained=trained,
    )


def network(name: str) -> "LiveNetwork":
    """The same system in torch, in its live form. Raises `WeightsError`, and `ImportError` without torch."""
    found = {part: find(part) for part in parts(name)}
    taken_in = {part: taken for part, taken in found.items() if taken is not None}
    if len(taken_in) < len(found):
        return export.live(name, dict.fromkeys(found))
    return export.live(
        name,
        {part: _folder() / taken.file for part, taken in taken_in.items()},
        options={part: taken.options for part, taken in taken_in.items()},
        swapped=taken_in[name].swapped,
    )


def _folder() -> Path:
    return cache_dir() / "checkpoints"


def _write(path: Path, text: str) -> None:
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(aside, path)


def _sha256(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
