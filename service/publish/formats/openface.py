"""OpenFace 2.2's CSV (`FeatureExtraction`, `FaceLandmarkVidMulti`), as far as there is what its columns hold.

Names, order, units and signs are those of its `RecorderCSV.cpp`. What is not measured here is an empty cell: the gaze
of each eye for itself (one direction is read for both), the head's place in millimetres (it needs the camera's focal
length). Eye landmarks, 3D landmarks and the parameters of OpenFace's own shape model are left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.publish import table
from service.publish.formats.format import Making, Writer
from service.publish.formats.rows import RowsOfFaces
from service.publish.table import Row, to_radians

INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
PRESENCES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
POINTS = 68  # of a face
_COPIED = ("frame", "face_id", "timestamp", "confidence", "success", "pose_Rx", "pose_Ry", "pose_Rz")
_AUS = (*(f"AU{unit:02}_r" for unit in INTENSITIES), *(f"AU{unit:02}_c" for unit in PRESENCES))
COLUMNS = (
    *("frame", "face_id", "timestamp", "confidence", "success"),
    *(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"),
    *("gaze_angle_x", "gaze_angle_y"),
    *("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"),
    *(f"x_{n}" for n in range(POINTS)),
    *(f"y_{n}" for n in range(POINTS)),
    *_AUS,
)


def open_openface(path: Path, making: Making) -> Writer:
    """Return a writer of OpenFace's table. Raise `OSError` if `path` cannot be written."""
    return RowsOfFaces(path, COLUMNS, rows)


def rows(event: Mapping[str, Any], frame: int) -> list[Row]:
    """Return the rows of an event with landmarks about picture number `frame`; one without a face has success 0."""
    found = table.rows(event, frame)
    return [_row(row, face) for row, face in zip(found, event["faces"] or [{}], strict=True)]


def _row(row: Row, face: Mapping[str, Any]) -> Row:
    made: Row = {name: row.get(name) for name in (*_COPIED, *_AUS)}
    gaze = face.get("gaze") or {}
    # OpenFace's axes point right, down and away from the camera, so that looking up is negative.
    yaw, pitch = gaze.get("yaw"), gaze.get("pitch")
    made["gaze_angle_x"] = None if yaw is None else to_radians(yaw)
    made["gaze_angle_y"] = None if pitch is None else to_radians(-pitch)
    return made | points(face)


def points(face: Mapping[str, Any]) -> Row:
    """Return the 68 points of a face as the cells x_0 to x_67 and y_0 to y_67; none where it has none."""
    found = face.get("landmarks") or []
    return {f"{axis}_{n}": point[place] for place, axis in enumerate("xy") for n, point in enumerate(found)}
