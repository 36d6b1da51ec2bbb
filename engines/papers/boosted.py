"""The boosters of multi-term boosting: one JSON file, which the user trained or was given, in the checkpoint store."""

from collections.abc import Sequence
from pathlib import Path

from engines import weights
from engines.cache import cache_dir
from engines.errors import WeightsError
from engines.papers import store
from engines.papers.store import Checkpoint
from engines.weights import Source, Weights
from models.files import sha256, written_whole

MODEL = "multiterm"
_FEATURES = "face-mt"  # the name in the weights manifest of the network that gives action units and deep features


def import_boosters(files: Sequence[Path]) -> Checkpoint:
    """Check a file that `train multiterm` wrote and put it into the store, replacing an earlier one.

    Nothing in the file is run. Raise `WeightsError` with what is wrong with it, or if LightGBM is missing.
    """
    from models.errors import ModelError
    from models.multiterm.system import MultiTerm

    if len(files) != 1:
        raise WeightsError(f"The boosters of {MODEL} are one file, not {len(files)}.")
    (file,) = files
    try:
        MultiTerm.load(file)
        return store.keep(MODEL, file, file.read_bytes())
    except ImportError:
        raise WeightsError(f"{MODEL} needs LightGBM; install it: pip install 'affectstream[multiterm]'.") from None
    except ModelError as error:
        raise WeightsError(str(error)) from error


def system(width: int, *, untrained: bool = False) -> Weights:
    """Return the boosters that were imported, or with `untrained` and without those, boosters fitted to noise.

    `width` is the number of deep features that the boosters fitted to noise read. Raise `WeightsError` if nothing was
    imported and `untrained` is false.
    """
    imported = store.find(MODEL)
    if imported is None and not untrained:
        raise WeightsError(
            f"There are no weights for {MODEL}: train them with `affectstream train {MODEL}` and import them with "
            f"`affectstream weights import {MODEL} FILE`, or add --untrained to see the system run on boosters that "
            "learned from noise, whose numbers mean nothing."
        )
    reads = weights.entry(_FEATURES)
    file = imported.path if imported else _from_noise(width)
    version = weights.version_of(MODEL, imported.origin_sha256 if imported else None)
    return Weights(
        name=version,
        file=file.name,
        computes="windows of 1, 6 and 12 s of a face's features -> valence, arousal, seven expressions",
        licence=f"{store.LICENCE if imported else 'Apache-2.0'}; reads {reads.version}: {reads.licence}",
        commercial=False,
        trained_on=f"{imported.origin} (imported)" if imported else "noise",
        sha256=imported.sha256 if imported else sha256(file),
        size=file.stat().st_size,
        sources=(Source(path=str(file)),),
        model=MODEL,
        version=version,
        trained=imported is not None,
    )


def _from_noise(width: int) -> Path:
    """Return the file of boosters fitted to noise, which is made at first use and kept in the cache."""
    from models.multiterm import system as multiterm

    file = cache_dir() / "checkpoints" / "untrained" / f"{MODEL}-{width}.json"
    if not file.is_file():
        with written_whole(file) as aside:
            multiterm.untrained(width).save(aside)
    return file
