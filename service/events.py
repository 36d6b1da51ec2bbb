"""Events of schema `affect/1`: the pydantic models are the published schema, `Event` is one event on its way out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.labels import ACTION_UNITS, COMPOUND_EXPRESSIONS, EXPRESSIONS

SCHEMA = "affect/1"

StateName = Literal["connecting", "live", "stalled", "reconnecting", "ended", "failed"]
FaceReason = Literal[
    "turned_away",
    "blurred",
    "too_small",
    "too_dark",
    "occluded",
    "unclear",
    "not_in_model",
    "not_read_yet",
    "engine_failed",
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TimingMs(_Model):
    """Hold the milliseconds that were spent on this event."""

    perception: float = Field(description="Milliseconds of finding and following the faces")
    queue: float = Field(description="Milliseconds that the frame and its request waited before they were worked on")
    inference: float = Field(description="Milliseconds of the model, without the time in the queue")
    total: float = Field(
        description="Milliseconds from the decoded frame's entering the process to the event's handing to the hub"
    )


class ModelInfo(_Model):
    """Name the weights that gave the values, and the engine that ran them."""

    name: str = Field(description="Name of the model, as given to --model")
    weights: str = Field(description="Version of the weights, such as face-mt-2")
    engine: str = Field(description="Backend that runs the model, such as openvino")
    precision: str = Field(description="Precision that the model runs in: fp32, fp16, bf16 or int8")
    trained: bool = Field(description="False if the weights are random; the values then mean nothing")
    voice: str | None = Field(
        default=None, description="Version of the voice network's weights; absent if the voice is not read"
    )
    missing: list[str] = Field(
        default=[], description="Inputs that the model was trained with and does not get here, such as sound"
    )


class VoiceExpression(_Model):
    """Hold probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    label: Literal[EXPRESSIONS] = Field(description="The likeliest of the seven expressions")  # type: ignore[valid-type]
    probabilities: dict[Literal[EXPRESSIONS], float] = Field(  # type: ignore[valid-type]
        description="Probability of each of the seven expressions, 0 to 1"
    )


class VoiceBaseline(_Model):
    """Say how much of the speaker's voice the reading is compared with."""

    speech_s: float = Field(ge=0, description="Seconds of speech in the running baseline of the voice, the newest 300")
    age_ms: int | None = Field(description="Milliseconds since the newest speech in it; null while it is empty")


class VoiceShare(_Model):
    """Say what part of the face's values is the voice's; 0 where it is fused into no face."""

    valence: float = Field(ge=0, le=1, description="Share of valence, 0 to 1")
    arousal: float = Field(ge=0, le=1, description="Share of arousal, 0 to 1")
    expression: float = Field(ge=0, le=1, description="Share of the expressions' probabilities, 0 to 1")


class Voice(_Model):
    """Hold what the voice network read from the 3 s of sound that end `age_ms` ago."""

    age_ms: int = Field(description="Milliseconds since the end of the sound that was read")
    valence: float = Field(ge=-1, le=1, description="Valence of the voice, -1 (unpleasant) to 1 (pleasant)")
    arousal: float = Field(ge=-1, le=1, description="Arousal of the voice, -1 (calm) to 1 (excited)")
    std: dict[Literal["valence", "arousal"], float] = Field(
        description="One standard deviation of the truth around the voice's valence and arousal"
    )
    expression: VoiceExpression = Field(description="Expressions of the voice")
    no_speech: float = Field(ge=0, le=1, description="Probability that the sound holds no voice, 0 to 1")
    baseline: VoiceBaseline = Field(description="The speaker's running baseline that the reading is compared with")
    fused_into: int | None = Field(
        description="Track of the face whose values include this reading; null with no face or several"
    )
    share: VoiceShare = Field(description="Part of that face's values that is the voice's")


class Audio(_Model):
    """Describe the session's sound. With several faces in view it is fused into none of them."""

    status: Literal["speech", "silence", "no_sound"] = Field(
        description="speech: somebody speaks; silence: there is sound without speech; no_sound: no sound arrives"
    )
    age_ms: int | None = Field(description="Age of the newest sound in milliseconds; null if there was none yet")
    level_db: float | None = Field(
        default=None, description="Level of the last 100 ms in dB relative to full scale; null without sound"
    )
    voice: Voice | None = Field(default=None, description="Newest reading of the voice; null without a recent one")


class HeadPose(_Model):
    """Hold the angles of the head in degrees, relative to the line from the camera to the face."""

    pitch: float = Field(description="Degrees; positive looks up")
    yaw: float = Field(description="Degrees; positive turns to the picture's right")
    roll: float = Field(description="Degrees; positive tilts clockwise as the picture is seen")


class Pair(_Model):
    """Hold one number for valence and one for arousal; null if unknown."""

    valence: float | None = Field(description="The number for valence; null if unknown")
    arousal: float | None = Field(description="The number for arousal; null if unknown")


class Expression(_Model):
    """Hold probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    label: Literal[EXPRESSIONS] = Field(description="The likeliest of the seven expressions")  # type: ignore[valid-type]
    probabilities: dict[Literal[EXPRESSIONS], float] = Field(  # type: ignore[valid-type]
        description="Probability of each of the seven expressions, 0 to 1, smoothed over 0.2 s"
    )
    other: float | None = Field(
        default=None,
        description="Probability of an eighth class, 0 to 1, before the seven were renormalised; absent without one",
    )


class WindowStatistics(_Model):
    """Describe one quantity over a trailing window."""

    mean: float = Field(description="Mean of the unsmoothed values")
    std: float = Field(description="Standard deviation of the values over time")
    range: float = Field(description="Largest minus smallest value")
    slope: float = Field(description="Change per second, by least squares")


class Window(_Model):
    """Describe a trailing window of so many seconds."""

    valence: WindowStatistics | None = Field(description="Valence over the window; null if it was never read in it")
    arousal: WindowStatistics | None = Field(description="Arousal over the window; null if it was never read in it")
    expression: Literal[EXPRESSIONS] | None = Field(  # type: ignore[valid-type]
        description="The likeliest expression on average; null if none was read in the window"
    )


class FaceAffect(_Model):
    """Describe one tracked face. An unknown value is null with a reason, never 0."""

    track: int = Field(description="Number of the tracked face; a person who comes back later gets a new one")
    status: Literal["ok", "warming_up", "held", "abstained"] = Field(
        description="ok: read now; warming_up: read, but windows or baseline are not complete; held: the last values "
        "repeated; abstained: not read, see reasons"
    )
    reasons: list[FaceReason] = Field(description="Why values are null, or why the face was not read")
    age_ms: int = Field(description="Age in milliseconds of the newest picture that these values rest on")
    box: list[float] = Field(
        min_length=4, max_length=4, description="x, y, width and height of the face in pixels of the picture"
    )
    confidence: float = Field(ge=0, le=1, description="Confidence that this is a face, 0 to 1")
    head_pose: HeadPose = Field(description="Angles of the head in degrees")
    valence: float | None = Field(
        ge=-1, le=1, description="Smoothed valence, -1 (unpleasant) to 1 (pleasant); null if unknown"
    )
    arousal: float | None = Field(
        ge=-1, le=1, description="Smoothed arousal, -1 (calm) to 1 (excited); null if unknown"
    )
    raw: Pair = Field(description="Valence and arousal of the face alone, before smoothing and without the voice")
    std: Pair = Field(description="One standard deviation of the truth around the value")
    from_baseline: Pair = Field(
        description="Smoothed value minus what it is when this person looks neutral; null until 3 s were seen"
    )
    expression: Expression | None = Field(description="The seven basic expressions; null if unknown")
    aus: dict[Literal[tuple(ACTION_UNITS)], float] = Field(  # type: ignore[valid-type]
        description="Probability that each facial action unit is present, 0 to 1; empty if unknown"
    )
    intensities: dict[Literal[tuple(ACTION_UNITS)], float] = Field(  # type: ignore[valid-type]
        default={}, description="Intensity of facial action units, 0 (absent) to 5 (maximal); empty if unknown"
    )
    intensity_std: dict[Literal[tuple(ACTION_UNITS)], float] = Field(  # type: ignore[valid-type]
        default={}, description="One standard deviation of each intensity; empty if unknown"
    )
    occluded: float | None = Field(
        default=None, ge=0, le=1, description="How likely the face is covered in part, 0 to 1; null if unknown"
    )
    windows: dict[Literal["1s", "6s", "12s"], Window | None] = Field(
        description="Statistics of the last 1, 6 and 12 seconds; null until the face was read for that long"
    )
    compound: dict[Literal[COMPOUND_EXPRESSIONS], float] | None = Field(  # type: ignore[valid-type]
        default=None, description="Scores of RAF-DB's compound expressions, summing to 1; absent without them"
    )
    landmarks: list[list[float]] | None = Field(
        default=None, description="The 68 points of iBUG as x, y in pixels of the picture; only where asked for"
    )


class AffectEvent(_Model):
    """Describe one moment of one session."""

    schema_: Literal["affect/1"] = Field(alias="schema", description="Version of this format")
    session: str = Field(description="Name of the session")
    incarnation: int = Field(
        default=1,
        ge=1,
        description="Counts from 1; a higher number says that tracks, windows and baseline began anew, as after a "
        "worker's death",
    )
    seq: int = Field(ge=0, description="Number of the event within the incarnation; a gap means lost events")
    state: StateName = Field(description="State of the session's source")
    reasons: list[Literal["no_face", "stale", "unreadable"]] = Field(
        description="no_face: nobody is in the picture; stale: the source gives no pictures now; unreadable: the "
        "picture's file cannot be read"
    )
    t: float = Field(description="Seconds on the session's clock; never goes back within an incarnation")
    captured_at: str | None = Field(
        description="When the decoded frame entered the process, UTC, ISO 8601; null for an event without a picture"
    )
    timing_ms: TimingMs | None = Field(description="Milliseconds spent; null for an event without a picture")
    model: ModelInfo = Field(description="The model that gives the values")
    image_size: list[int] | None = Field(
        min_length=2, max_length=2, description="Width and height of the picture in pixels; null without one"
    )
    audio: Audio = Field(description="The session's sound")
    faces: list[FaceAffect] = Field(description="The faces in the picture, and those just lost")
    detail: str | None = Field(default=None, description="A sentence for people; only at a change of state")
    file: str | None = Field(default=None, description="Name of the picture's file; only where pictures are analysed")


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an event."""
    schema = AffectEvent.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": SCHEMA}


@dataclass(frozen=True)
class Event:
    """Hold one event in the form in which it goes out: JSON text that nothing changes any more.

    `Event.of` encodes an event that this process made; the constructor takes one that is encoded already, such as a
    worker's. Both give the same object. An event is encoded at most once per form, however many subscribers there are.

    Attributes:
        session: Name of the session.
        seq: Number of the event.
        state: State of the session, one of `StateName`.
        detail: The sentence of a change of state; None for an event of a picture or of sound.
        text: JSON of the event without landmarks.
        landmarks: 68 points by track, (68, 2) float32 in pixels, of the faces in the picture.
        incarnation: The session's incarnation, counted from 1.
    """

    session: str
    seq: int
    state: str
    detail: str | None
    text: str
    landmarks: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    incarnation: int = 1

    @classmethod
    def of(cls, data: Mapping[str, Any], landmarks: Mapping[int, NDArray[np.float32]] | None = None) -> Self:
        """Return the event whose fields (see `AffectEvent`) are `data`, with the 68 points of its faces by track."""
        return cls(
            session=data["session"],
            seq=data["seq"],
            state=data["state"],
            detail=data.get("detail"),
            text=_encode(data),
            landmarks=landmarks or {},
            incarnation=data.get("incarnation", 1),
        )

    @property
    def of_media(self) -> bool:
        """Whether a picture or sound caused the event, not only a change of state."""
        return self.detail is None

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """The event's fields, read from its text; changing this copy changes nothing that goes out."""
        fields: dict[str, Any] = json.loads(self.text)
        return fields

    @cached_property
    def text_with_landmarks(self) -> str:
        """JSON of the event with the 68 points of each face in the picture."""
        faces = [
            {**face, "landmarks": np.round(self.landmarks[face["track"]], 1).tolist()}
            if face["track"] in self.landmarks
            else face
            for face in self.data["faces"]
        ]
        return _encode({**self.data, "faces": faces})


def _encode(data: Mapping[str, Any]) -> str:
    # orjson takes a tenth of json's time. It would write NaN as null; values are checked where they are made.
    try:
        return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except TypeError:  # a path in a sentence or a file's name need not be UTF-8
        return json.dumps(data, separators=(",", ":"), allow_nan=False)
