"""The papers' systems from checkpoints that a user imported: checked against their network, then written as ONNX.

The systems come without weights. A checkpoint is read without running anything in it and kept in the cache, where it is
found by the model's name (`engines.papers.store`). A model without weights runs only where `untrained` asks for it, on
random weights, and each of its events says so.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from engines.cache import cache_dir
from engines.errors import WeightsError
from engines.papers import export, openface_au, store
from engines.papers.store import Checkpoint
from engines.weights import Source, Weights, version_of
from models import registry
from models.files import sha256

if TYPE_CHECKING:
    from engines.papers.live_networks import LiveNetwork


def import_checkpoint(
    name: str, files: Sequence[Path], *, swapped: bool = False, options: Mapping[str, Any]
) -> Checkpoint:
    """Check a published checkpoint of the network `name` and put it into the store, replacing an earlier one.

    `files` is one file; for `descriptors-ensemble` it may be two, of the face with its surroundings and of the aligned
    face. An .npz file of TensorFlow variables is read for `affwildnet`. `swapped` says that the checkpoint gives
    arousal before valence, and `options` are the keyword arguments that its network is made with.

    Raise `WeightsError` with what is missing, unexpected or of another shape, and for a pickle that would run code.
    """
    if name == "multiterm":
        from engines.papers import boosted

        return boosted.import_boosters(files)
    if name == openface_au.NAME:
        return openface_au.import_folder(files)
    if name not in models.available():
        known = ", ".join((*models.available(), "multiterm", openface_au.NAME))
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
        content = {"state_dict": {key: torch.as_tensor(value) for key, value in state.items()}}
        return store.add(
            name, origin, lambda aside: checkpoint.save(aside, content), ".pt", swapped=swapped, options=options
        )
    except ModelError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(f"{origin} cannot be read, or {cache_dir()} not written: {error}.") from error


def system(name: str, *, untrained: bool = False, options: Mapping[str, Mapping[str, Any]] | None = None) -> Weights:
    """Return the weights of a paper's system as an ONNX file of its live form, which is written at first use.

    `options` are the keyword arguments, by part, of networks with random weights. Raise `WeightsError` if there is no
    checkpoint and `untrained` is false, or if PyTorch is needed and missing.
    """
    found = {part: store.find(part) for part in registry.row(name).parts}
    missing = [part for part, checkpoint in found.items() if checkpoint is None]
    if missing and not untrained:
        commands = " and ".join(f"`affectstream weights import {part} FILE`" for part in missing)
        raise WeightsError(
            f"There are no weights for {name}: import a published checkpoint with {commands}, or add --untrained "
            "to see the system run on random weights, whose numbers mean nothing."
        )
    if missing:
        made_with = {part: {} for part in found} if options is None else options
        file = export.exported(name, dict.fromkeys(found), options=made_with)
        version, trained = version_of(name, None), False
        licence, origin = "Apache-2.0", "nothing: random weights"
    else:
        checkpoints = {part: checkpoint for part, checkpoint in found.items() if checkpoint is not None}
        file = export.exported(
            name,
            {part: checkpoint.path for part, checkpoint in checkpoints.items()},
            options={part: checkpoint.options for part, checkpoint in checkpoints.items()},
            swapped=checkpoints[name].swapped,
        )
        version, trained = version_of(name, checkpoints[name].origin_sha256), True
        licence = store.LICENCE
        origin = ", ".join(f"{checkpoint.origin} (imported)" for checkpoint in checkpoints.values())
    return Weights(
        name=version,
        file=file.name,
        computes=f"the live form of {name}",
        licence=licence,
        commercial=False,
        trained_on=origin,
        sha256=sha256(file),
        size=file.stat().st_size,
        sources=(Source(path=str(file)),),
        model=name,
        version=version,
        trained=trained,
    )


def network(name: str) -> "LiveNetwork":
    """Return the live form of a system in PyTorch, of its checkpoints where all are there, else of random weights.

    Raise `WeightsError` if a checkpoint was altered, and `ImportError` without PyTorch.
    """
    found = {part: store.find(part) for part in registry.row(name).parts}
    checkpoints = {part: checkpoint for part, checkpoint in found.items() if checkpoint is not None}
    if len(checkpoints) < len(found):
        return export.live(name, dict.fromkeys(found))
    return export.live(
        name,
        {part: checkpoint.path for part, checkpoint in checkpoints.items()},
        options={part: checkpoint.options for part, checkpoint in checkpoints.items()},
        swapped=checkpoints[name].swapped,
    )
