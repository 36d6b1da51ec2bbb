"""py-feat's Fex table (`Fex.to_csv`, read again by `feat.utils.io.read_feat`), as far as there is what it holds.

Names are those of py-feat 0.6 and later, read with 2.1.5. Where the same thing is given in another way here, that is
said in docs/exports.md; what is not given is an empty cell: AU43, the head's place, and the identity, because a track
is none. Such columns are written nevertheless, because `Fex.poses` and `Fex.identities` raise an error without them.
"""

from collections.abc import Mapping
from math import radians
from pathlib import Path
from typing import Any

from service.publish.formats.format import Making, Writer
from service.publish.formats.openface import POINTS, points
from service.publish.formats.rows import RowsOfFaces
from service.publish.table import Row

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
COLUMNS = (
    *_BOX,
    "FaceScore",
    *(f"x_{n}" for n in range(POINTS)),
    *(f"y_{n}" for n in range(POINTS)),
    *("Pitch", "Roll", "Yaw", "X", "Y", "Z"),
    *(f"AU{unit:02}" for unit in ACTION_UNITS),
    *EMOTIONS,
    *("Identity", "input", "frame", "approx_time"),
    "track",  # of ours: without an identity, which rows of a film belong together would be lost
)


def open_pyfeat(path: Path, making: Making) -> Writer:
    """Return a writer of py-feat's table. Raise `OSError` if `path` cannot be written."""
    name = making.input_name()
    return RowsOfFaces(path, COLUMNS, lambda event, frame: rows(event, frame, name))


def rows(event: Mapping[str, Any], frame: int, name: str) -> list[Row]:
    """Return the rows of an event with landmarks about picture number `frame` (counted from 1) of the file `name`."""
    minutes, seconds = divmod(int(event["t"]), 60)
    common: Row = {
        "input": event.get("file") or name,
        "frame": frame - 1,  # py-feat counts from 0
        "approx_time": f"{minutes:02}:{seconds:02}",
    }
    return [{**common, **_face(face)} for face in event["faces"]] or [common]


def _face(face: Mapping[str, Any]) -> Row:
    row: Row = dict(zip(_BOX, face["box"], strict=True))
    row["FaceScore"] = face["confidence"]
    row["track"] = face["track"]
    pose = face["head_pose"]
    row |= {name: round(radians(pose[name.lower()]), 4) + 0.0 for name in ("Pitch", "Roll", "Yaw")}  # no -0.0
    units = {f"AU{unit:02}" for unit in ACTION_UNITS}
    row |= {name: probability for name, probability in face["aus"].items() if name in units}
    if face["expression"] is not None:
        row |= {name: face["expression"]["probabilities"][name] for name in EMOTIONS}
    return row | points(face)
