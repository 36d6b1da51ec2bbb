"""What multi-term boosting reads of each face at 30 frames a second: action units, head, gaze, body, deep features.

The networks behind it run where the scheduler runs them (`FeatureEngine`); here their inputs are cut out of the frame,
and their outputs become rows of features, one a slot of the grid of 30 a second, by the session clock alone. Training
data is made by the same code (`service.datasets.multiterm`). Irises are read ten times a second, and the body of one
face five times, whoever waited longest; in between those features are NaN, and the windows leave NaN out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from models.multiterm.live_windows import HOLD, slot_of
from models.multiterm.windows import FPS, SHIFT
from service.adapters import au_calibration
from service.adapters.au_calibration import AUCalibration
from service.adapters.pacing import FORGET, Pacer
from service.perception import body, iris
from service.perception.camera_pose import camera_pose
from service.perception.face import Face

IRIS_PERIOD = 3  # slots, 0.1 s
BODY_PERIOD = SHIFT  # slots, 0.2 s
HEAD = ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")
GAZE = (*(f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz"), "gaze_angle_x", "gaze_angle_y")
POSE = tuple(joint for joint in body.BODY_25 for _ in "xyc")
NAMES = {"au": au_calibration.COLUMNS, "head": HEAD, "gaze": GAZE, "pose": POSE}  # of the features; deep ones have none

Row = dict[str, NDArray[np.float64]]  # modality -> (features,), NaN where unknown


@dataclass(frozen=True, slots=True)
class Slot:
    """A face's features at place `number` of the grid, out of the frame at `t` seconds. `first`: of a new face."""

    number: int
    t: float
    row: Row
    first: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a frame showed; `units`: 0..1 by name."""

    t: float
    slot: int
    units: dict[str, float]
    row: Row


@dataclass
class _Person:
    seen: float  # s
    calibration: AUCalibration = field(default_factory=AUCalibration)
    last: _Reading | None = None
    region: body.Region | None = None  # where the body was
    looked: int = -1  # slot in which the body was last looked for


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose body the last question is about, and in which region; None: in the whole picture."""

    track: int | None
    region: body.Region | None


class FrameFeatures:
    """Of one session; causal. `units`: names of the action units that the face network gives, in its order. `wanted`:
    modalities; eyes and bodies are only looked at for theirs.
    """

    def __init__(self, units: Sequence[str], rate: float = float(FPS), wanted: Collection[str] = tuple(NAMES)) -> None:
        self._units = tuple(units)
        self._wanted = frozenset(wanted)
        self._pacer = Pacer(rate)
        self._people: dict[int, _Person] = {}
        self._irises = self._bodies = -1  # turns that were taken
        self._asked = _Asked(None, None)

    @property
    def tracks(self) -> tuple[int, ...]:
        """Faces that something is remembered of."""
        return tuple(self._people)

    def ask(self, t: float, faces: Sequence[Face]) -> Arrays | None:
        """The engine's inputs for `faces`, or None between two turns."""
        self._people = {track: person for track, person in self._people.items() if t - person.seen <= FORGET}
        for face in faces:
            self._people.setdefault(face.track, _Person(t)).seen = t
        if not faces or not self._pacer.due(t):
            return None
        slot = slot_of(t)
        given: Arrays = {"face": np.stack([face.crop for face in faces])}
        self._asked = _Asked(None, None)
        if any(face.image is None for face in faces):
            return given
        if "gaze" in self._wanted and slot // IRIS_PERIOD != self._irises:
            self._irises = slot // IRIS_PERIOD
            given["eyes"] = np.stack([iris.eye_crops(_image(face), face.mesh) for face in faces])
        if "pose" in self._wanted and slot // BODY_PERIOD != self._bodies:
            self._bodies = slot // BODY_PERIOD
            given |= self._look(slot, faces)
        return given

    def read(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, list[Slot]]:
        """By track, the slots up to that of `t` that are new: the answer to the question of `t`, and the frame before
        for up to 0.2 s where slots in between had none; unknown after that.
        """
        self._pacer.answered()
        slot = slot_of(t)
        units = 1 / (1 + np.exp(-outputs["aus"].astype(np.float64)))
        found = {}
        for i, face in enumerate(faces):
            person = self._people.setdefault(face.track, _Person(t))
            row: Row = {"deep": outputs["embedding"][i].astype(np.float64)}
            if face.image is not None:
                row |= self._geometry(i, face, person, outputs)
            values = dict(zip(self._units, units[i].tolist(), strict=True))
            found[face.track] = _advance(person, _Reading(t, slot, values, row))
        return found

    def unanswered(self) -> None:
        """The last question has no answer: that frame is missing."""
        self._pacer.answered()

    def _look(self, slot: int, faces: Sequence[Face]) -> Arrays:
        """Pictures for the body networks: of one face's body, black for the others."""
        row = min(range(len(faces)), key=lambda i: (self._people[faces[i].track].looked, faces[i].track))
        face, person = faces[row], self._people[faces[row].track]
        person.looked = slot
        self._asked = _Asked(face.track, person.region)
        image = _image(face)
        name, picture = "scene", body.scene(image)
        if person.region is not None:
            name, picture = "person", body.person_crop(image, person.region)
        pictures = np.zeros((len(faces), *picture.shape), np.uint8)
        pictures[row] = picture
        return {name: pictures}

    def _geometry(self, i: int, face: Face, person: _Person, outputs: Arrays) -> Row:
        """Head, gaze and body, in their modalities, of the `i`-th of the faces."""
        height, width = _image(face).shape[:2]
        pose = camera_pose(face.mesh, width, height)
        row: Row = {"head": pose.columns}
        if "irises" in outputs:
            centres = iris.iris_centres(outputs["irises"][i].astype(np.float64), face.mesh)
            row["gaze"] = iris.gaze(centres, face.mesh, pose)
        if self._asked.track != face.track:
            return row
        if self._asked.region is None:
            boxes, logits = (outputs[name][i].astype(np.float64) for name in ("boxes", "logits"))
            person.region = body.find_person(boxes, logits, width, height, face.box)
        else:
            landmarks, presence = outputs["landmarks"][i].astype(np.float64), float(outputs["presence"][i])
            found, person.region = body.body_25(landmarks, presence, self._asked.region, face.box, width, height)
            if found is not None:
                row["pose"] = found.ravel()
        return row


def _advance(person: _Person, new: _Reading) -> list[Slot]:
    """The slots from the last reading to `new`, which becomes the last."""
    old, person.last = person.last, new
    slots = []
    if old is not None:
        for number in range(old.slot + 1, new.slot):
            stands = number - old.slot <= HOLD
            slots.append(_slot(person, number, old if stands else _Reading(old.t, number, {}, {})))
    if old is None or new.slot > old.slot:
        slots.append(_slot(person, new.slot, new, first=old is None))
    return slots


def _slot(person: _Person, number: int, reading: _Reading, first: bool = False) -> Slot:
    row = {name: np.full(len(columns), np.nan) for name, columns in NAMES.items()} | reading.row
    row["au"] = person.calibration(reading.units)
    return Slot(number, reading.t, row, first)


def _image(face: Face) -> NDArray[np.uint8]:
    assert face.image is not None
    return face.image
