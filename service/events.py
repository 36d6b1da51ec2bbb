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
from service.neutral import NeutralStep
from service.purpose import PURPOSES

SCHEMA = "affect/1"
SCHEMA_ID = "urn:affectstream:schema:affect:1"  # of the JSON Schema; where it is served differs from server to server
MARKER_LENGTH = 200  # characters of a marker's label at most

EventKind = Literal["affect", "marker", "alert"]  # affect: a picture, sound or a change of state
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

SignalReason = Literal[
    "turned_away",
    "blurred",
    "too_small",
    "too_dark",
    "occluded",
    "unclear",
    "no_face",
    "no_sound",
    "too_few_frames",
    "warming_up",
    "eyes_closed",
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

    name: str = Field(description="Name of the model, as given to --model; GET /v1/models/{name}/card is its card")
    weights: str = Field(
        description="Version of the weights, such as face-mt-2; GET /v1/models/{weights}/card is their card"
    )
    engine: str = Field(description="Backend that runs the model, such as openvino")
    precision: str = Field(description="Precision that the model runs in: fp32, fp16, bf16 or int8")
    trained: bool = Field(description="False if the weights are random; the values then mean nothing")
    voice: str | None = Field(
        default=None,
        description="Version of the voice network's weights, whose card GET /v1/models/{voice}/card is; absent if the "
        "voice is not read",
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
        description="One standard deviation of the truth around both values, on their scale of -1 to 1"
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

    valence: float | None = Field(description="The number for valence, on its scale of -1 to 1; null if unknown")
    arousal: float | None = Field(description="The number for arousal, on its scale of -1 to 1; null if unknown")


class Expression(_Model):
    """Hold probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    label: Literal[EXPRESSIONS] = Field(description="The likeliest of the seven expressions")  # type: ignore[valid-type]
    probabilities: dict[Literal[EXPRESSIONS], float] = Field(  # type: ignore[valid-type]
        description="Probability of each of the seven expressions, 0 to 1, after the session's smoothing"
    )
    other: float | None = Field(
        default=None,
        description="Probability of an eighth class, 0 to 1, before the seven were renormalised; absent without one",
    )


class Eyes(_Model):
    """Describe how far the eyes are open, and blinks. Looking far down lowers the lids as well."""

    openness: float | None = Field(
        ge=0, le=1, description="0 (lids shut) to 1 (open as this person's eyes usually are); null if unknown"
    )
    closed: bool | None = Field(
        description="Whether the lids have been down for longer than a blink, 0.5 s; null if unknown"
    )
    blink_ms: int | None = Field(
        description="Milliseconds that a blink took which ended in this picture; null in all other events"
    )
    blinks: int = Field(ge=0, description="Number of blinks since the track began")
    blinks_per_min: float | None = Field(
        ge=0,
        description="Blinks a minute over the last 60 s, of the time in which the eyes were seen; null until they were "
        "seen for 10 s of it",
    )
    reasons: list[SignalReason] = Field(
        description="Why values are null; too_few_frames: pictures are more than 0.1 s apart, so that blinks are missed"
    )


class HeadGesture(_Model):
    """Describe nods and shakes of the head."""

    gesture: Literal["nod", "shake", "none"] | None = Field(
        description="nod or shake while it goes on, until 0.6 s after its last swing; none: neither; null if unknown"
    )
    nods: int = Field(ge=0, description="Number of nods since the track began; a row of swings is one nod")
    shakes: int = Field(ge=0, description="Number of shakes since the track began; a row of swings is one shake")
    reasons: list[SignalReason] = Field(
        description="Why the gesture is null; too_few_frames: pictures are more than 0.2 s apart"
    )


class Speech(_Model):
    """Say whether this face speaks: its mouth moves while there is speech in the session's sound."""

    speaking: bool | None = Field(
        description="Whether there is speech and this mouth moves, at least half as much as the liveliest one in view; "
        "null if unknown"
    )
    mouth_motion: float | None = Field(
        ge=0,
        description="How far the lips travelled to and fro in the last second, in distances between the outer eye "
        "corners; null if unknown",
    )
    reasons: list[SignalReason] = Field(
        description="Why values are null; no_sound: none arrives; too_few_frames: pictures are more than 0.2 s apart"
    )


class Gaze(_Model):
    """Say where the face looks, about 20 degrees off without calibration: left or right, up or down, not at what."""

    yaw: float | None = Field(
        description="Degrees from the camera's axis; positive looks to the picture's right; null if unknown"
    )
    pitch: float | None = Field(description="Degrees from the camera's axis; positive looks up; null if unknown")
    age_ms: int | None = Field(description="Milliseconds since the picture that was read; null if unknown")
    reasons: list[SignalReason] = Field(description="Why values are null; eyes_closed: there is no iris to be seen")


class WindowStatistics(_Model):
    """Describe one quantity over a trailing window, on the quantity's own scale of -1 to 1."""

    mean: float = Field(description="Mean of the unsmoothed values, -1 to 1")
    std: float = Field(description="Standard deviation of the values over time, 0 to 1")
    range: float = Field(description="Largest minus smallest value, 0 to 2")
    slope: float = Field(description="Change of the value per second, by least squares")


class Window(_Model):
    """Describe a trailing window of so many seconds."""

    valence: WindowStatistics | None = Field(description="Valence over the window; null if it was never read in it")
    arousal: WindowStatistics | None = Field(description="Arousal over the window; null if it was never read in it")
    expression: Literal[EXPRESSIONS] | None = Field(  # type: ignore[valid-type]
        description="The likeliest expression on average; null if none was read in the window"
    )


class FaceBaseline(_Model):
    """Say what `from_baseline` is measured from: how this person looks when neutral."""

    source: Literal["running", "neutral_step"] | None = Field(
        description="running: the median of what the model found neutral so far; neutral_step: what was read when the "
        "person was asked to look neutral; null: neither yet"
    )
    valence: float | None = Field(description="Valence of the neutral face, -1 to 1; null without a baseline")
    arousal: float | None = Field(description="Arousal of the neutral face, -1 to 1; null without a baseline")
    neutral_s: float = Field(ge=0, description="Seconds of neutral face that it rests on")
    reasons: list[Literal["not_neutral_yet", "not_in_model"]] = Field(
        description="Why there is none; not_neutral_yet: neutral was not the likeliest expression for 3 s in all; "
        "not_in_model: the model gives no expressions, so that only the neutral step can tell"
    )


class FaceAffect(_Model):
    """Describe one tracked face. An unknown value is null with a reason, never 0."""

    track: int = Field(description="Number of the tracked face; a person who comes back later gets a new one")
    status: Literal["ok", "warming_up", "held", "abstained"] = Field(
        description="ok: read now; warming_up: read, but windows are not complete; held: the last values "
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
    std: Pair = Field(description="One standard deviation of the truth around the value, on its scale of -1 to 1")
    from_baseline: Pair = Field(
        description="Smoothed value minus what it is when this person looks neutral; null while baseline.source is"
    )
    baseline: FaceBaseline | None = Field(default=None, description="What from_baseline is measured from")
    expression: Expression | None = Field(description="The seven basic expressions; null if unknown")
    aus: dict[Literal[tuple(ACTION_UNITS)], float] = Field(  # type: ignore[valid-type]
        description="Probability that each facial action unit is present, 0 to 1; empty if unknown"
    )
    intensities: dict[Literal[tuple(ACTION_UNITS)], float] = Field(  # type: ignore[valid-type]
        default={}, description="Intensity of facial action units, 0 (absent) to 5 (maximal); empty if unknown"
    )
    intensity_std: dict[Literal[tuple(ACTION_UNITS)], float] = Field(  # type: ignore[valid-type]
        default={}, description="One standard deviation of each intensity, on its scale of 0 to 5; empty if unknown"
    )
    occluded: float | None = Field(
        default=None, ge=0, le=1, description="How likely the face is covered in part, 0 to 1; null if unknown"
    )
    eyes: Eyes | None = Field(default=None, description="Opening of the eyes, and blinks")
    head_gesture: HeadGesture | None = Field(default=None, description="Nods and shakes")
    speech: Speech | None = Field(default=None, description="Whether this face speaks")
    gaze: Gaze | None = Field(default=None, description="Where the face looks; absent unless asked for (--gaze)")
    windows: dict[Literal["1s", "6s", "12s"], Window | None] = Field(
        description="Statistics of the last 1, 6 and 12 seconds; null until the face was read for that long"
    )
    compound: dict[Literal[COMPOUND_EXPRESSIONS], float] | None = Field(  # type: ignore[valid-type]
        default=None, description="Scores of RAF-DB's compound expressions, summing to 1; absent without them"
    )
    openface: dict[Literal[tuple(ACTION_UNITS)], float] | None = Field(  # type: ignore[valid-type]
        default=None,
        description="OpenFace's own intensities of action units, 0 to 5; absent where its predictors were not imported",
    )
    landmarks: list[list[float]] | None = Field(
        default=None, description="The 68 points of iBUG as x, y in pixels of the picture; only where asked for"
    )


class Marker(_Model):
    """Mark a moment of the session that a person or a program named, such as the begin of a stimulus."""

    label: str = Field(min_length=1, max_length=MARKER_LENGTH, description="What the moment is called")
    t: float = Field(description="Seconds on the session's clock; may be earlier than the event's own t")
    at: str | None = Field(description="The same moment, UTC, ISO 8601; null for a recording, which has no wall clock")


class Alert(_Model):
    """Say that a rule's condition has held for as long as the rule asks (raised), or holds no more (cleared)."""

    rule: str = Field(description="Name of the rule")
    condition: str = Field(description="The rule's condition, such as AU04 > 0.7 for 2 s")
    status: Literal["raised", "cleared"] = Field(description="raised: the condition holds; cleared: it holds no more")
    since: float = Field(description="Seconds on the session's clock at which the condition began to hold, or to fail")
    value: float | None = Field(
        description="The value that the rule is about, in the unit of its field; null for a lost face"
    )
    track: int | None = Field(description="Track of the face that the value is of; null where nobody is in view")


class AffectEvent(_Model):
    """Describe one moment of one session; one with a marker or an alert is about nothing else, and has no faces."""

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
    purpose: Literal[tuple(PURPOSES)] | None = Field(  # type: ignore[valid-type]
        default=None,
        description="What the live session is for; medical and safety claim the exceptions of Article 5(1)(f) of the "
        "EU AI Act. Absent for the demo and for recordings that are analysed",
    )
    detail: str | None = Field(default=None, description="A sentence for people; only at a change of state")
    file: str | None = Field(default=None, description="Name of the picture's file; only where pictures are analysed")
    marker: Marker | None = Field(
        default=None, description="The moment that this event marks; only in events that are markers"
    )
    alert: Alert | None = Field(default=None, description="What a rule reports; only in events that are alerts")
    neutral: NeutralStep | None = Field(
        default=None,
        description="The neutral step; only in the events of pictures while it runs, and in the one in which it ended",
    )


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an event."""
    schema = AffectEvent.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema, "title": SCHEMA}


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
        kind: What the event is about, one of `EventKind`.
    """

    session: str
    seq: int
    state: str
    detail: str | None
    text: str
    landmarks: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    incarnation: int = 1
    kind: EventKind = "affect"

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
            kind="marker" if data.get("marker") else "alert" if data.get("alert") else "affect",
        )

    @property
    def of_media(self) -> bool:
        """Return whether a picture or sound caused the event, and not a change of state, a marker or a rule."""
        return self.detail is None and self.kind == "affect"

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """Return the event's fields, read from its text; changing this copy changes nothing that goes out."""
        try:
            fields: dict[str, Any] = orjson.loads(self.text)
        except orjson.JSONDecodeError:  # a path in a sentence or a file's name need not be UTF-8
            fields = json.loads(self.text)
        return fields

    @property
    def data_with_landmarks(self) -> Mapping[str, Any]:
        """Return the event's fields with the 68 points of each face in the picture."""
        faces = [
            {**face, "landmarks": self.landmarks[face["track"]].astype(np.float64).round(1).tolist()}
            if face["track"] in self.landmarks
            else face
            for face in self.data["faces"]
        ]
        return {**self.data, "faces": faces}

    @cached_property
    def text_with_landmarks(self) -> str:
        """Return the JSON of the event with the 68 points of each face in the picture."""
        return _encode(self.data_with_landmarks)


def _encode(data: Mapping[str, Any]) -> str:
    # orjson takes a tenth of json's time. It would write NaN as null; values are checked where they are made.
    try:
        return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except TypeError:  # a path in a sentence or a file's name need not be UTF-8
        return json.dumps(data, separators=(",", ":"), allow_nan=False)
