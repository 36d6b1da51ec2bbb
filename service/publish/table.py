"""Events as a table: one row per face and frame, with OpenFace's column names (and units and signs) where they exist.

OpenFace 2.2 (Baltrušaitis et al. 2018) is what most analysis scripts of the field read. Its `AU.._r` are intensities of
0 to 5: they hold the events' `intensities`, never probabilities, which have columns of their own.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import radians
from typing import Any, Literal

from models.errors import UserError
from models.labels import ACTION_UNITS, EXPRESSIONS

AU_THRESHOLD = 0.5  # from which a probability counts as present; the usual one of the ABAW challenges

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """Describe a column of int64, float64 or string; every cell may be empty but frame, timestamp and success.

    Attributes:
        name: Name of the column.
        kind: Type of its cells.
        field: The event's field that it holds, such as "faces.valence"; its description in the schema is the column's.
        note: What the column adds to that description, or the whole description where there is no field.
        unit: Unit of its numbers; "" for numbers without one and for texts.
        group: The group of optional columns that it belongs to, one of `GROUPS`; "" for a column of every table.
    """

    name: str
    kind: Literal["int", "float", "text"]
    field: str = ""
    note: str = ""
    unit: str = ""
    group: str = ""


GROUPS = ("boxes", "gaze", "voice", "windows")  # of optional columns, as `--columns` names them
DEFAULT_GROUPS = ("boxes", "gaze")
_SECONDS = ("1s", "6s", "12s")
_STATISTICS = {
    "mean": "mean of the unsmoothed values",
    "std": "standard deviation over time",
    "range": "largest minus smallest value",
    "slope": "change per second",
}
FILE = Column("file", "text", "file")  # first where pictures of a folder are analysed, else left out
# fmt: off
EVERY_COLUMN = (
    Column("frame", "int", note="Number of the analysed picture, from 1; with --fps, of those that were analysed"),
    Column("face_id", "int", "faces.track"),
    Column("timestamp", "float", "t", "For a recording, its own clock", "s"),
    Column("confidence", "float", "faces.confidence"),
    Column("success", "int", note="1 where the values were read from this very frame; 0 where they are held or "
           "missing, or no face is there"),
    Column("pose_Rx", "float", "faces.head_pose.pitch", "Here in OpenFace's sense: positive looks down", "rad"),
    Column("pose_Ry", "float", "faces.head_pose.yaw", "Here in OpenFace's sense: positive turns to the picture's left",
           "rad"),
    Column("pose_Rz", "float", "faces.head_pose.roll", "", "rad"),
    Column("status", "text", "faces.status"),
    Column("reasons", "text", "faces.reasons", "Separated by ;"),
    Column("age_ms", "int", "faces.age_ms", "", "ms"),
    Column("valence", "float", "faces.valence"),
    Column("arousal", "float", "faces.arousal"),
    Column("valence_raw", "float", "faces.raw", "Here valence"),
    Column("arousal_raw", "float", "faces.raw", "Here arousal"),
    Column("valence_std", "float", "faces.std", "Here of valence"),
    Column("arousal_std", "float", "faces.std", "Here of arousal"),
    Column("valence_from_baseline", "float", "faces.from_baseline", "Here valence"),
    Column("arousal_from_baseline", "float", "faces.from_baseline", "Here arousal"),
    Column("expression", "text", "faces.expression.label"),
    *(Column(name, "float", "faces.expression.probabilities", f"Here of {name}") for name in EXPRESSIONS),
    *(Column(f"{name}_p", "float", "faces.aus", f"Here {name}, {words}") for name, words in ACTION_UNITS.items()),
    *(Column(f"{name}_c", "int", note=f"1 where the probability of {name} ({words}) is at least {AU_THRESHOLD:g}, "
             "else 0; empty if unknown") for name, words in ACTION_UNITS.items()),
    *(Column(f"{name}_r", "float", "faces.intensities", f"Here {name}, {words}")
      for name, words in ACTION_UNITS.items()),
    Column("gaze_yaw", "float", "faces.gaze.yaw", "", "degrees", group="gaze"),
    Column("gaze_pitch", "float", "faces.gaze.pitch", "", "degrees", group="gaze"),
    *(Column(f"face_{part}", "float", "faces.box", f"Here {words}", "pixels", group="boxes") for part, words in
      (("x", "x of its left edge"), ("y", "y of its upper edge"), ("width", "its width"), ("height", "its height"))),
    Column("eye_openness", "float", "faces.eyes.openness"),
    Column("eyes_closed", "int", "faces.eyes.closed", "Here 1 or 0"),
    Column("blink_ms", "int", "faces.eyes.blink_ms", "", "ms"),
    Column("blinks", "int", "faces.eyes.blinks"),
    Column("blinks_per_min", "float", "faces.eyes.blinks_per_min", "", "1/min"),
    Column("head_gesture", "text", "faces.head_gesture.gesture"),
    Column("nods", "int", "faces.head_gesture.nods"),
    Column("shakes", "int", "faces.head_gesture.shakes"),
    Column("speaking", "int", "faces.speech.speaking", "Here 1 or 0"),
    Column("mouth_motion", "float", "faces.speech.mouth_motion", "", "1/s"),
    Column("audio_status", "text", "audio.status", group="voice"),
    Column("audio_level_db", "float", "audio.level_db", "", "dB", group="voice"),
    Column("voice_age_ms", "int", "audio.voice.age_ms", "", "ms", group="voice"),
    *(Column(f"voice_{name}", "float", f"audio.voice.{name}", group="voice") for name in ("valence", "arousal")),
    *(Column(f"voice_{name}_std", "float", "audio.voice.std", f"Here of {name}", group="voice")
      for name in ("valence", "arousal")),
    Column("voice_expression", "text", "audio.voice.expression.label", group="voice"),
    *(Column(f"voice_{name}", "float", "audio.voice.expression.probabilities", f"Here of {name}", group="voice")
      for name in EXPRESSIONS),
    Column("voice_no_speech", "float", "audio.voice.no_speech", group="voice"),
    Column("voice_fused_into", "int", "audio.voice.fused_into", group="voice"),
    *(Column(f"voice_share_{name}", "float", f"audio.voice.share.{name}", group="voice")
      for name in ("valence", "arousal", "expression")),
    *(Column(f"{name}_{statistic}_{seconds}", "float", "faces.windows", f"Here {name} over {seconds}: {words}",
             group="windows")
      for seconds in _SECONDS for name in ("valence", "arousal") for statistic, words in _STATISTICS.items()),
    *(Column(f"expression_{seconds}", "text", "faces.windows",
             f"Here the likeliest expression on average over {seconds}", group="windows") for seconds in _SECONDS),
    Column("marker", "text", "marker.label", "Of the markers since the picture before, separated by ;"),
    Column("last_marker", "text", note="Label of the newest marker so far, which names the stretch that the frame lies "
           "in; empty before the first"),
    Column("last_marker_t", "float", note="Second of the recording at which that marker lies", unit="s"),
    Column("weights", "text", "model.weights"),
    Column("trained", "int", "model.trained", "Here 1 or 0"),
)
# fmt: on


def columns(groups: Iterable[str] = DEFAULT_GROUPS) -> tuple[Column, ...]:
    """Return the columns of a table with the optional `groups`, in their order."""
    wanted = {"", *groups}
    return tuple(column for column in EVERY_COLUMN if column.group in wanted)


def read_groups(text: str) -> tuple[str, ...]:
    """Return the groups that `text` names, separated by commas; none for an empty text.

    Raise `UserError` for a name that is no group, with the nearest one that is.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in GROUPS:
            near = difflib.get_close_matches(name, GROUPS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(GROUPS)}"
            raise UserError(f"--columns: there are no columns {name!r}; {hint}")
    return tuple(group for group in GROUPS if group in names)


COLUMNS = columns()
_SIGNALS = {  # part of a face and its fields -> columns
    "eyes": {
        "openness": "eye_openness",
        "closed": "eyes_closed",
        "blink_ms": "blink_ms",
        "blinks": "blinks",
        "blinks_per_min": "blinks_per_min",
    },
    "head_gesture": {"gesture": "head_gesture", "nods": "nods", "shakes": "shakes"},
    "gaze": {"yaw": "gaze_yaw", "pitch": "gaze_pitch"},
    "speech": {"speaking": "speaking", "mouth_motion": "mouth_motion"},
}  # fmt: skip


class Table:
    """Turn events into rows of `COLUMNS`: it counts the pictures and remembers the newest marker."""

    def __init__(self) -> None:
        """Begin with picture 1 and no marker."""
        self._frame = 0
        self._newest: Row = {}  # cells of the newest marker
        self._waiting: list[str] = []  # labels of markers since the last picture

    def rows(self, event: Mapping[str, Any]) -> list[Row]:
        """Return the rows of an event (schema affect/1); none if it is about no picture.

        Without a face there is one row of success 0. Columns without a value are left out.
        """
        marker = event.get("marker")
        if marker is not None:
            self._newest = {"last_marker": marker["label"], "last_marker_t": marker["t"]}
            self._waiting.append(marker["label"])
        if not has_picture(event):
            return []
        self._frame += 1
        labels, self._waiting = self._waiting, []
        marked = {"marker": ";".join(labels)} if labels else {}
        return [{**row, **self._newest, **marked} for row in rows(event, self._frame)]


def rows(event: Mapping[str, Any], frame: int) -> list[Row]:
    """Return the rows of an event (schema affect/1) about picture number `frame`, counted from 1, without markers.

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
    common |= _sound(event["audio"])
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
        "pose_Rx": to_radians(-pose["pitch"]),
        "pose_Ry": to_radians(-pose["yaw"]),
        "pose_Rz": to_radians(pose["roll"]),
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
    return row | _signals(face) | _windows(face["windows"])


def _sound(audio: Mapping[str, Any]) -> Row:
    """Return the cells of the session's sound, which are the same for all faces of a picture."""
    row: Row = {"audio_status": audio["status"], "audio_level_db": audio.get("level_db")}
    voice = audio.get("voice")
    if voice is None:
        return row
    for name in ("age_ms", "valence", "arousal", "no_speech", "fused_into"):
        row[f"voice_{name}"] = voice[name]
    row |= {f"voice_{name}_std": voice["std"][name] for name in ("valence", "arousal")}
    row["voice_expression"] = voice["expression"]["label"]
    row |= {f"voice_{name}": share for name, share in voice["expression"]["probabilities"].items()}
    return row | {f"voice_share_{name}": share for name, share in voice["share"].items()}


def _windows(windows: Mapping[str, Any]) -> Row:
    """Return the cells of the trailing windows; those that are not complete are left out."""
    row: Row = {}
    for seconds, window in windows.items():
        if window is None:
            continue
        row[f"expression_{seconds}"] = window["expression"]
        for name in ("valence", "arousal"):
            for statistic, value in (window[name] or {}).items():
                row[f"{name}_{statistic}_{seconds}"] = value
    return row


def _signals(face: Mapping[str, Any]) -> Row:
    """Return the cells of box, eyes, head gestures and speech; those of events without signals are left out."""
    row: Row = dict(zip(("face_x", "face_y", "face_width", "face_height"), face["box"], strict=True))
    for part, columns in _SIGNALS.items():
        signal = face.get(part) or {}
        for name, column in columns.items():
            value = signal.get(name)
            row[column] = int(value) if isinstance(value, bool) else value
    return row


def to_radians(degrees: float) -> float:
    """Return an angle as a cell of the table has it: in radians, with four digits."""
    return round(radians(degrees), 4) + 0.0  # no -0.0
