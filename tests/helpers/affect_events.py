"""Events that sinks get, as a session makes them."""

import time
from datetime import UTC, datetime
from typing import Any

from models.labels import EXPRESSIONS
from service.events import Event

AUS = {"AU04": 0.2, "AU12": 0.9}
INTENSITIES = {"AU12": 4.0}


def a_face(track: int = 1, **more: Any) -> dict[str, Any]:
    """A face that smiles."""
    nothing = {"valence": None, "arousal": None}
    shares = dict.fromkeys(EXPRESSIONS, 0.0) | {"happiness": 0.75, "neutral": 0.25}
    return {
        "track": track, "status": "ok", "reasons": [], "age_ms": 0, "box": [100.0, 50.0, 80.0, 80.0],
        "confidence": 0.98, "head_pose": {"pitch": 1.0, "yaw": -2.0, "roll": 3.0}, "valence": 0.5, "arousal": None,
        "raw": nothing, "std": {"valence": 0.25, "arousal": None}, "from_baseline": nothing,
        "expression": {"label": "happiness", "probabilities": shares}, "aus": AUS, "intensities": INTENSITIES,
        "intensity_std": {}, "occluded": 0.1, "windows": {"1s": None, "6s": None, "12s": None},
        **more,
    }  # fmt: skip


def an_event(seq: int, *faces: dict[str, Any], session: str = "desk", at: float | None = None, **more: Any) -> Event:
    """The event of a picture that came in at the Unix time `at`, or now; its second is seq / 30."""
    stamp = datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat(timespec="milliseconds")
    data = {
        "schema": "affect/1", "session": session, "incarnation": 1, "seq": seq, "state": "live",
        "reasons": [] if faces else ["no_face"], "t": round(seq / 30, 3), "captured_at": stamp[:-6] + "Z",
        "timing_ms": {"perception": 2.1, "queue": 0.4, "inference": 6.0, "total": 11.8},
        "model": {"name": "face-mt", "weights": "w", "engine": "openvino", "precision": "fp32", "trained": True},
        "image_size": [640, 360], "audio": {"status": "no_sound", "age_ms": None}, "faces": list(faces),
    }  # fmt: skip
    return Event.of({**data, **more})


def a_note(seq: int, session: str = "desk", **more: Any) -> Event:
    """An event about no picture: of a change of state (`detail`), a marker or an alert."""
    return an_event(seq, session=session, captured_at=None, timing_ms=None, image_size=None, **more)


def a_marker(seq: int, label: str = "go", t: float = 0.5, session: str = "desk") -> Event:
    return a_note(seq, session, reasons=[], marker={"label": label, "t": t, "at": None})


def an_alert(seq: int, rule: str = "frown", session: str = "desk") -> Event:
    alert = {
        "rule": rule, "condition": "AU04 > 0.7 for 2 s", "status": "raised", "since": 1.0, "value": 0.8, "track": 1,
    }  # fmt: skip
    return a_note(seq, session, reasons=[], alert=alert)
