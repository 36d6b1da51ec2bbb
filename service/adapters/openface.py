"""OpenFace's own intensities beside the default model's, where a user imported its predictors."""

from collections.abc import Sequence

import numpy as np

from engines.papers import openface_au
from models.face_mt.openface import OpenFace
from models.face_mt.openface_files import Files
from models.face_mt.openface_live import Person
from service.perception.face import Face

KEPT = 5.0  # seconds that a person's medians are kept after the face was last read


class OpenFaceReader:
    """Read OpenFace's intensities of every face of one session."""

    def __init__(self, files: Files) -> None:
        """Take the imported predictors."""
        self._files, self._openface = files, OpenFace(files)
        self._people: dict[int, Person] = {}

    def __call__(self, t: float, faces: Sequence[Face]) -> dict[int, dict[str, float]]:
        """Return by track the intensity of each unit, 0 to 5; a face whose shape cannot be fitted is left out."""
        self._people = {track: one for track, one in self._people.items() if t - one.seen <= KEPT}
        found = {}
        for face in faces:
            if face.image is None:
                continue
            person = self._people.setdefault(face.track, Person(self._openface, self._files))
            try:
                found[face.track] = person(t, face.image, face.landmarks)
            except np.linalg.LinAlgError:
                continue
        return found


def imported() -> OpenFaceReader | None:
    """Return a new reader for a session, or None where no predictors were imported."""
    files = openface_au.imported()
    return None if files is None else OpenFaceReader(files)
