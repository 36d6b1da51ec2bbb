"""What goes out: schema `affect/1`. The pydantic models are the published schema; events themselves are plain dicts."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.labels import ACTION_UNITS, COMPOUND_EXPRESSIONS, EXPRESSIONS

SCHEMA = "affect/1"

Unit = Field(ge=0, le=1)
StateName = Literal["connecting", "live", "stalled", "reconnecting", "ended", "failed"]
FaceReason = Literal[
    "turned_away", "blurred", "too_small", "too_dark", "unclear", "not_in_model", "not_read_yet", "engine_failed"
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TimingMs(_Model):
    """Milliseconds spent on this event; `total` from the decoded frame's entering to the hub."""

    perception: float
    queue: float
    inference: float
    total: float


class ModelInfo(_Model):
    """Which weights ran where."""

    name: str
    weights: str
    engine: str
    precision: str
    trained: bool
    voice: str | None = Field(default=None, description="Weights of the sound branch, where it runs")
    missing: list[str] = Field(default=[], description="Inputs that the model was trained with and does not get here")


class VoiceExpression(_Model):
    """Probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    label: Literal[EXPRESSIONS]  # type: ignore[valid-type]
    probabilities: dict[Literal[EXPRESSIONS], float]  # type: ignore[valid-type]


class Voice(_Model):
    """What the sound branch heard in the 3 s of sound that end `age_ms` ago."""

    age_ms: int
    valence: float = Field(ge=-1, le=1)
    arousal: float = Field(ge=-1, le=1)
    std: dict[Literal["valence", "arousal"], float]
    expression: VoiceExpression
    no_speech: float = Field(ge=0, le=1, description="Probability that there was no voice")
    fused_into: int | None = Field(description="Track of the face that it is part of; null with none or several")


class Audio(_Model):
    """The session's sound; with several faces it is fused into none of them."""

    status: Literal["speech", "silence", "no_sound"]
    age_ms: int | None = Field(description="Age of the newest sound used")
    level_db: float | None = Field(default=None, description="Level of the last 100 ms, dB relative to full scale")
    voice: Voice | None = Field(default=None, description="Reading of a voice; null without a recent one")


class HeadPose(_Model):
    """Degrees."""

    pitch: float
    yaw: float
    roll: float


class Pair(_Model):
    """One number for valence, one for arousal."""

    valence: float | None
    arousal: float | None


class Expression(_Model):
    """Probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    label: Literal[EXPRESSIONS]  # type: ignore[valid-type]
    probabilities: dict[Literal[EXPRESSIONS], float]  # type: ignore[valid-type]
    other: float | None = Field(default=None, description="An eighth class, before the seven were renormalised")


class WindowStatistics(_Model):
    """Over a trailing window; slope per second by least squares."""

    mean: float
    std: float
    range: float
    slope: float


class Window(_Model):
    """A trailing window of so many seconds."""

    valence: WindowStatistics | None
    arousal: WindowStatistics | None
    expression: Literal[EXPRESSIONS] | None  # type: ignore[valid-type]


class FaceAffect(_Model):
    """One tracked face. Unknown is null with a reason, never 0."""

    track: int
    status: Literal["ok", "warming_up", "held", "abstained"]
    reasons: list[FaceReason]
    age_ms: int = Field(description="Age of the newest picture that these values rest on")
    box: list[float] = Field(min_length=4, max_length=4, description="x, y, width, height in pixels")
    confidence: float = Unit
    head_pose: HeadPose
    valence: float | None = Field(ge=-1, le=1)
    arousal: float | None = Field(ge=-1, le=1)
    raw: Pair
    std: Pair
    from_baseline: Pair
    expression: Expression | None
    aus: dict[Literal[tuple(ACTION_UNITS)], float]  # type: ignore[valid-type]
    windows: dict[Literal["1s", "6s", "12s"], Window | None]
    compound: dict[Literal[COMPOUND_EXPRESSIONS], float] | None = None  # type: ignore[valid-type]
    landmarks: list[list[float]] | None = Field(default=None, description="68 points in pixels, when asked for")


class AffectEvent(_Model):
    """One moment of one session."""

    schema_: Literal["affect/1"] = Field(alias="schema")
    session: str
    seq: int = Field(ge=0)
    state: StateName
    reasons: list[Literal["no_face", "stale"]]
    t: float = Field(description="Seconds on the session clock; never goes back")
    captured_at: str | None = Field(description="UTC, ISO 8601, when the decoded frame entered the process")
    timing_ms: TimingMs | None
    model: ModelInfo
    image_size: list[int] | None = Field(min_length=2, max_length=2)
    audio: Audio
    faces: list[FaceAffect]
    detail: str | None = Field(default=None, description="A sentence at a change of state")
    file: str | None = Field(default=None, description="Name of the picture, when a folder is analysed")
    incarnation: int = Field(default=1, ge=1, description="Counts from 1; 2 and on: seq, tracks and windows began anew")


def event_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of an event."""
    schema = AffectEvent.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": SCHEMA}


@dataclass(frozen=True)
class Event:
    """An event on its way to the sinks; encoded at most once per form, however many subscribers there are."""

    session: str
    seq: int
    data: dict[str, Any]
    landmarks: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # track -> (68, 2) pixels

    @cached_property
    def state(self) -> str:
        """Of the session."""
        return str(self.data["state"])

    @cached_property
    def detail(self) -> str | None:
        """The sentence of a change of state; None otherwise."""
        return self.data.get("detail")

    @cached_property
    def incarnation(self) -> int:
        """Return the session's incarnation, counted from 1."""
        return int(self.data.get("incarnation", 1))

    @property
    def of_media(self) -> bool:
        """Whether a picture or sound was behind it, not only a change of state."""
        return self.detail is None

    @cached_property
    def text(self) -> str:
        """JSON of the event without landmarks."""
        return _encode(self.data)

    @cached_property
    def text_with_landmarks(self) -> str:
        """JSON of the event with each visible face's 68 points."""
        faces = [
            {**face, "landmarks": np.round(self.landmarks[face["track"]], 1).tolist()}
            if face["track"] in self.landmarks
            else face
            for face in self.data["faces"]
        ]
        return _encode({**self.data, "faces": faces})


def _encode(data: dict[str, Any]) -> str:
    # A tenth of json's time. What is not a number would go out as null, which an unknown must have become long before.
    try:
        return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except TypeError:  # a path in a sentence or a file's name need not be UTF-8
        return json.dumps(data, separators=(",", ":"), allow_nan=False)
