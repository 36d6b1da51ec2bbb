"""Events as a table: one row per face and frame, with OpenFace's column names (and units and signs) where they exist.

OpenFace 2.2 (Baltrušaitis et al. 2018) is what most analysis scripts of the field read. Its `AU.._r` are intensities of
0 to 5: they hold the events' `intensities`, never probabilities, which have columns of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import radians
from typing import Any, Literal

from models.labels import ACTION_UNITS, EXPRESSIONS

AU_THRESHOLD = 0.5  # from which a probability counts as present; the usual one of the ABAW challenges

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """Describe a column of int64, float64 or string; every cell may be empty but frame, timestamp and success."""

    name: str
    kind: Literal["int", "float", "text"]


FILE = Column("file", "text")  # first where pictures of a folder are analysed, else left out
COLUMNS = (
    Column("frame", "int"),
    Column("face_id", "int"),
    Column("timestamp", "float"),
    Column("confidence", "float"),
    Column("success", "int"),
    Column("pose_Rx", "float"),
    Column("pose_Ry", "float"),
    Column("pose_Rz", "float"),
    Column("status", "text"),
    Column("reasons", "text"),
    Column("age_ms", "int"),
    Column("valence", "float"),
    Column("arousal", "float"),
    Column("valence_raw", "float"),
    Column("arousal_raw", "float"),
    Column("valence_std", "float"),
    Column("arousal_std", "float"),
    Column("valence_from_baseline", "float"),
    Column("arousal_from_baseline", "float"),
    Column("expression", "text"),
    *(Column(name, "float") for name in EXPRESSIONS),
    *(Column(f"{name}_p", "float") for name in ACTION_UNITS),
    *(Column(f"{name}_c", "int") for name in ACTION_UNITS),
    *(Column(f"{name}_r", "float") for name in ACTION_UNITS),
    Column("weights", "text"),
    Column("trained", "int"),
)


def rows(event: Mapping[str, Any], frame: int) -> list[Row]:
    """Return the rows of an event (schema affect/1) about picture number `frame`, counted from 1.

    Without a face there is one row of success 0. Columns without a value are left out.
    """
    common: Row = {
        "frame": frame,
        "timestamp": event["t"],
        "success": 0,
        "weights": event["model"]["weights"],
        "trained": int(event["model"]["trained"]),
    }
    if event.get("file") is not None:
        common["file"] = event["file"]
    if not event["faces"]:
        return [{**common, "reasons": ";".join(event["reasons"])}]
    return [{**common, **_face(face)} for face in event["faces"]]


def has_picture(event: Mapping[str, Any]) -> bool:
    """Return whether the event is about a picture, and not about a change of state or sound alone."""
    return event.get("image_size") is not None or event.get("file") is not None


def _face(face: Mapping[str, Any]) -> Row:
    pose = face["head_pose"]
    row: Row = {
        "face_id": face["track"],
        "confidence": face["confidence"],
        "success": int(face["status"] in ("ok", "warming_up")),  # read from this very frame
        # OpenFace turns about axes that point right, down and away from the camera: up and to the image's right are
        # negative there.
        "pose_Rx": _radians(-pose["pitch"]),
        "pose_Ry": _radians(-pose["yaw"]),
        "pose_Rz": _radians(pose["roll"]),
        "status": face["status"],
        "reasons": ";".join(face["reasons"]),
        "age_ms": face["age_ms"],
    }
    for name in ("valence", "arousal"):
        row[name] = face[name]
        for part in ("raw", "std", "from_baseline"):
            row[f"{name}_{part}"] = face[part][name]
    if face["expression"] is not None:
        row["expression"] = face["expression"]["label"]
        row.update(face["expression"]["probabilities"])
    for name, probability in face["aus"].items():
        row[f"{name}_p"] = probability
        row[f"{name}_c"] = int(probability >= AU_THRESHOLD)
    for name, intensity in face.get("intensities", {}).items():
        row[f"{name}_r"] = intensity
    return row


def _radians(degrees: float) -> float:
    return round(radians(degrees), 4) + 0.0  # no -0.0
