"""OpenFace's action-unit predictors, which a user who has them imports: one file of the checkpoint store."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import WeightsError
from engines.papers import store
from engines.papers.store import Checkpoint

if TYPE_CHECKING:
    from models.face_mt.openface_files import Files

NAME = "openface-au"


def import_folder(folders: Sequence[Path]) -> Checkpoint:
    """Check the folder of OpenFace's predictors and keep what is read live, replacing an earlier import.

    Nothing in the files is run. Raise `WeightsError` with the file that is missing or damaged.
    """
    from models.errors import ModelError
    from models.face_mt import openface_files

    if len(folders) != 1:
        raise WeightsError(f"{NAME} is imported from one folder, with AU_predictors and model in it.")
    (folder,) = folders
    try:
        files = openface_files.read(folder, openface_files.BEST_LIST)
    except ModelError as error:
        raise WeightsError(str(error)) from error
    return store.keep(NAME, folder / openface_files.BEST_LIST, openface_files.pack(files), ".npz")


def imported() -> "Files | None":
    """Return the predictors that were imported, or None. Raise `WeightsError` if the stored file was altered."""
    from models.errors import ModelError
    from models.face_mt import openface_files

    found = store.find(NAME)
    try:
        return None if found is None else openface_files.unpack(found.path)
    except ModelError as error:
        raise WeightsError(str(error)) from error
