"""Add to recordings what multi-term boosting reads: `multiterm/<name>.npz`, made by the code that serves.

Out of the videos; or, where a video is not at hand, out of the data set's aligned pictures, which give action units
and deep features but not head, gaze and body. Arrays by modality, (slots, features) float32 at 30 slots a second
from the first frame on, NaN where unknown; `extractor` names the weights that the deep features come from. Recordings
that have their file are skipped, so that a run which was stopped goes on.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines import weights
from models.errors import UserError
from models.files import written_whole
from models.multiterm.live_windows import slot_of
from models.training import affwild2
from models.training.recordings import FPS
from service.adapters.face_mt import read_facts
from service.adapters.feature_engine import FACE, FeatureEngine
from service.adapters.frame_features import FrameFeatures, Slot
from service.capture.file import FileSource
from service.capture.media import Frame
from service.datasets.affwild2_layout import Layout, layout
from service.datasets.annotated_person import AnnotatedPerson
from service.perception.face import Face
from service.perception.networks import Networks
from service.perception.perceive import Perception
from service.perception.still import face_in_crop

log = logging.getLogger(__name__)

FOLDER = "multiterm"
Seen = Iterator[tuple[float, dict[str, Face | None]]]  # frame by frame: seconds, and each person's face


class Person:
    """Collect the features of one person, frame by frame, through the serving code."""

    def __init__(self, engine: FeatureEngine) -> None:
        """Take the engine of the feature networks."""
        self._engine = engine
        self._features = FrameFeatures(read_facts(weights.path(FACE)))
        self._slots: list[Slot] = []
        self._length = 0  # slots

    def add(self, t: float, face: Face | None) -> None:
        """Add the frame at `t` seconds, with the person's face or None."""
        self._length = slot_of(t) + 1
        faces = [] if face is None else [replace(face, track=0)]  # one person, whatever perception called the face
        inputs = self._features.ask(t, faces)
        if inputs is not None:
            self._slots += self._features.read(t, faces, self._engine(inputs))[0]

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return (slots, features) by modality; nothing if the person was never seen."""
        if not self._slots:
            return {}
        out = {name: np.full((self._length, len(x)), np.nan) for name, x in self._slots[0].row.items()}
        for slot in self._slots:
            for name, x in slot.row.items():
                out[name][slot.number] = x
        return out


def prepare_multiterm(source: Path, out: Path) -> None:
    """Write `out`/multiterm from `source`, a folder of Aff-Wild2 or one that was prepared from it; they may be one.

    Raise `UserError` if nothing can be prepared.
    """
    found = layout(source)
    if out.resolve() != source.resolve():
        affwild2.copy_annotations(source, out)
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    missing = {
        video: due
        for video, names in found.recordings().items()
        if (due := [name for name in names if not _file(out, name).is_file()])
    }
    if not missing:
        return
    engine, networks, version = FeatureEngine(weights.path), Networks(), np.array(weights.entry(FACE).version)
    for video, due in tqdm(missing.items(), unit="video", disable=None):
        people = {name: Person(engine) for name in due}
        try:
            for t, faces in _seen(found, video, due, networks):
                for name, face in faces.items():
                    people[name].add(t, face)
        except UserError as error:
            log.warning("%s", error)
            continue
        for name, person in people.items():
            if arrays := person.arrays():
                halves = {key: x.astype(np.float32) for key, x in arrays.items()}
                _write(_file(out, name), halves | {"extractor": version})
            else:
                log.warning("%s has no face that is seen, and no features", name)
    if not any((out / FOLDER).glob("*.npz")):
        raise UserError(f"Nothing was prepared: no recording of {source} has a face that is seen.")


def _seen(found: Layout, video: str, names: list[str], networks: Networks) -> Seen:
    if video in found.videos:
        return _in_video(found, found.videos[video], names, networks)
    return _in_pictures(found, names, networks)


def _in_video(found: Layout, path: Path, names: list[str], networks: Networks) -> Seen:
    perception, crops = Perception(networks), found.crops["cropped_aligned"]
    people = {name: AnnotatedPerson(name, crops.get(name)) for name in names}
    start: float | None = None
    index = 0
    for item in FileSource(path, path.name, realtime=False).read(Event()):
        if isinstance(item, Frame):
            start = item.t if start is None else start
            faces = perception(item)
            yield (
                item.t - start,
                {name: person.among(faces, index, item.image.shape[1]) for name, person in people.items()},
            )
            index += 1


def _in_pictures(found: Layout, names: list[str], networks: Networks) -> Seen:
    """Yield pictures at 30 a second, without the frame around them, so that head, gaze and body stay unknown."""
    for name in names:
        folder = found.crops["cropped_aligned"].get(name)
        last = 0 if folder is None else max((int(path.stem) for path in folder.glob("*.jpg")), default=0)
        for index in range(last):
            assert folder is not None
            image = cv2.imread(str(affwild2.picture(folder.parent, name, index)))
            face = None
            if image is not None:
                face = face_in_crop(networks, np.ascontiguousarray(image[..., ::-1], np.uint8), t=index / FPS)
            yield index / FPS, {name: face and replace(face, image=None)}


def _file(out: Path, name: str) -> Path:
    return out / FOLDER / f"{name}.npz"


def _write(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    with written_whole(path) as aside:
        np.savez_compressed(aside, **arrays)  # type: ignore[arg-type]
