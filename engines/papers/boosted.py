"""The multi-term boosters: one JSON file, which the user trained or was given, kept among the imported checkpoints."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engines import weights
from engines.cache import cache_dir
from engines.errors import WeightsError
from engines.papers import imported
from engines.weights import Source, Weights

MODEL = "multiterm"
_FEATURES = "face-mt"  # in the weights manifest: gives action units and deep features


def take_in(files: Sequence[Path]) -> imported.Checkpoint:
    """Checks a file that `train multiterm` wrote and puts it into the store, replacing an earlier one. Nothing in it is
    run. Raises `WeightsError` with what is wrong with it.
    """
    from models.errors import ModelError
    from models.multiterm.system import MultiTerm

    if len(files) != 1:
        raise WeightsError(f"The boosters of {MODEL} are one file, not {len(files)}.")
    (file,) = files
    try:
        MultiTerm.load(file)
        return imported.keep(MODEL, file, file.read_bytes())
    except ImportError:
        raise WeightsError(f"{MODEL} needs LightGBM; install it: pip install 'affectstream[multiterm]'.") from None
    except ModelError as error:
        raise WeightsError(str(error)) from error


def system(width: int, *, untrained: bool = False) -> Weights:
    """The boosters that were taken in; `width`: of the deep features, for a system that learned from noise instead.

    Raises `WeightsError` if there are none and `untrained` was not asked for.
    """
    taken = imported.find(MODEL)
    if taken is None and not untrained:
        raise WeightsError(
            f"There are no weights for {MODEL}: train them with `affectstream train {MODEL}` and take them in with "
            f"`affectstream weights import {MODEL} FILE`, or add --untrained to see the system run on boosters that "
            "learned from noise, whose numbers mean nothing."
        )
    reads = weights.entry(_FEATURES)
    file = imported.stored(taken) if taken else _from_noise(width)
    return Weights(
        name=f"{MODEL}-{taken.origin_sha256[:8]}" if taken else f"{MODEL}-untrained",
        file=file.name,
        computes="windows of 1, 6 and 12 s of a face's features -> valence, arousal, seven expressions",
        licence=f"{imported.LICENCE if taken else 'Apache-2.0'}; reads {reads.version}: {reads.licence}",
        commercial=False,
        trained_on=f"{taken.origin} (imported)" if taken else "noise",
        sha256=taken.sha256 if taken else hashlib.sha256(file.read_bytes()).hexdigest(),
        size=file.stat().st_size,
        sources=(Source(path=str(file)),),
        model=MODEL,
        version=f"{MODEL}-{taken.origin_sha256[:8]}" if taken else f"{MODEL}-untrained",
        trained=taken is not None,
    )


def _from_noise(width: int) -> Path:
    """Made once and kept in the cache."""
    from models.multiterm import system as multiterm

    file = cache_dir() / "checkpoints" / "untrained" / f"{MODEL}-{width}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=file.parent, suffix=".part")
        os.close(handle)
        multiterm.untrained(width).save(Path(aside))
        os.replace(aside, file)
    return file
