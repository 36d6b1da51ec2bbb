"""The features of multi-term boosting for each face at 30 frames a second: units, head, gaze, body, deep features.

The networks run in the scheduler (`FeatureEngine`). Here their inputs are cut out of the frame, and their outputs
become rows of features, one for each slot of a grid of 30 a second, by the session clock alone. Training data is made
by the same code (`service.datasets.multiterm`). Irises are read ten times a second, and the body of one face five
times, of the face that waited longest; in between those features are NaN, which the windows leave out.
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
from service.adapters.face_mt import Facts, inputs_of
from service.adapters.pacing import FORGET, Pacer
from service.perception import body, iris
from service.perception.camera_pose import camera_pose
from service.perception.face import Face
from service.perception.picture_size import Size, scale_between

IRIS_PERIOD = 3  # slots, 0.1 s
BODY_PERIOD = SHIFT  # slots, 0.2 s
HEAD = ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")
GAZE = (*(f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz"), "gaze_angle_x", "gaze_angle_y")
POSE = tuple(joint for joint in body.BODY_25 for _ in "xyc")
NAMES = {"au": au_calibration.COLUMNS, "head": HEAD, "gaze": GAZE, "pose": POSE}  # of the features; deep ones have none

Row = dict[str, NDArray[np.float64]]  # modality -> (features,), NaN where unknown


@dataclass(frozen=True, slots=True)
class Slot:
    """Hold a face's features at place `number` of the grid, from the frame at `t` seconds; `first` for a new face."""

    number: int
    t: float
    row: Row
    first: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """Hold what a frame showed; `units` are probabilities by name."""

    t: float
    slot: int
    units: dict[str, float]
    row: Row


@dataclass
class _Person:
    """Hold what is remembered of one face.

    Attributes:
        seen: Seconds, when it was last in a frame.
        calibration: The person's own levels of the action units.
        last: The last reading.
        region: Where the body was.
        size: Size of the picture in whose pixels that is.
        searched: Slot in which the body was last searched for.
    """

    seen: float
    calibration: AUCalibration = field(default_factory=AUCalibration)
    last: _Reading | None = None
    region: body.Region | None = None
    size: Size | None = None
    searched: int = -1

    def region_in(self, size: Size) -> body.Region | None:
        """Return where the body was, in the pixels of a picture of `size`; None if that is unknown."""
        if self.region is None or self.size is None:
            return None
        scale = scale_between(self.size, size)
        return None if scale is None else self.region.scaled(scale)


@dataclass(frozen=True, slots=True)
class _BodyRequest:
    """Hold whose body the last request is about, and in which region; None for the whole picture."""

    track: int | None
    region: body.Region | None


class FrameFeatures:
    """Make the rows of features of one session; causal."""

    def __init__(self, facts: Facts, rate: float = float(FPS), wanted: Collection[str] = tuple(NAMES)) -> None:
        """Begin a session.

        Args:
            facts: What the face network's file says of it.
            rate: Requests a second.
            wanted: Modalities; eyes and bodies are only read for theirs.
        """
        self._facts = facts
        self._wanted = frozenset(wanted)
        self._pacer = Pacer(rate)
        self._people: dict[int, _Person] = {}
        self._irises = self._bodies = -1  # last periods in which they were read
        self._body_request = _BodyRequest(None, None)

    @property
    def tracks(self) -> tuple[int, ...]:
        """Return the tracks of which something is remembered."""
        return tuple(self._people)

    def ask(self, t: float, faces: Sequence[Face]) -> Arrays | None:
        """Return the engine's inputs for the `faces` at `t` seconds, or None if no request is due."""
        self._people = {track: person for track, person in self._people.items() if t - person.seen <= FORGET}
        for face in faces:
            self._people.setdefault(face.track, _Person(t)).seen = t
        if not faces or not self._pacer.due(t):
            return None
        slot = slot_of(t)
        given = inputs_of(faces, self._facts)
        self._body_request = _BodyRequest(None, None)
        if any(face.image is None for face in faces):
            return given
        if "gaze" in self._wanted and slot // IRIS_PERIOD != self._irises:
            self._irises = slot // IRIS_PERIOD
            given["eyes"] = np.stack([iris.eye_crops(_image(face), face.mesh) for face in faces])
        if "pose" in self._wanted and slot // BODY_PERIOD != self._bodies:
            self._bodies = slot // BODY_PERIOD
            given |= self._body_pictures(slot, faces)
        return given

    def read(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, list[Slot]]:
        """Return the new slots by track, up to that of `t` seconds, from the outputs for the request of `t`.

        Slots in between that had no request repeat the frame before for up to 0.2 s, and are unknown after that.
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
            values = dict(zip(self._facts.aus, units[i].tolist(), strict=True))
            found[face.track] = _advance(person, _Reading(t, slot, values, row))
        return found

    def unanswered(self) -> None:
        """Note that the last request has no answer, so that its frame is missing."""
        self._pacer.answered()

    def _body_pictures(self, slot: int, faces: Sequence[Face]) -> Arrays:
        """Return pictures for the body networks: of one face's body, black for the others."""
        row = min(range(len(faces)), key=lambda i: (self._people[faces[i].track].searched, faces[i].track))
        face, person = faces[row], self._people[faces[row].track]
        person.searched = slot
        image = _image(face)
        region = person.region_in((image.shape[1], image.shape[0]))
        self._body_request = _BodyRequest(face.track, region)
        name, picture = "scene", body.scene(image)
        if region is not None:
            name, picture = "person", body.person_crop(image, region)
        pictures = np.zeros((len(faces), *picture.shape), np.uint8)
        pictures[row] = picture
        return {name: pictures}

    def _geometry(self, i: int, face: Face, person: _Person, outputs: Arrays) -> Row:
        """Return head, gaze and body of the `i`-th of the faces, by modality."""
        height, width = _image(face).shape[:2]
        pose = camera_pose(face.mesh, width, height)
        row: Row = {"head": pose.columns}
        if "irises" in outputs:
            centres = iris.iris_centres(outputs["irises"][i].astype(np.float64), face.mesh)
            row["gaze"] = iris.gaze(centres, face.mesh, pose)
        if self._body_request.track != face.track:
            return row
        person.size = (width, height)
        if self._body_request.region is None:
            boxes, logits = (outputs[name][i].astype(np.float64) for name in ("boxes", "logits"))
            person.region = body.find_person(boxes, logits, width, height, face.box)
        else:
            landmarks, presence = outputs["landmarks"][i].astype(np.float64), float(outputs["presence"][i])
            found, person.region = body.body_25(landmarks, presence, self._body_request.region, face.box, width, height)
            if found is not None:
                row["pose"] = found.ravel()
        return row


def _advance(person: _Person, new: _Reading) -> list[Slot]:
    """Return the slots from the last reading to `new`, which becomes the last."""
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
