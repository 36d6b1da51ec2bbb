"""Hold the types of an event, schema `affect/1`.

`make docs` writes this file from the schema; change service/events.py or service/event_types.py.
"""

from typing import Literal, NotRequired, TypedDict

ExpressionName = Literal["neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"]
ActionUnit = Literal[
    "AU01",
    "AU02",
    "AU04",
    "AU05",
    "AU06",
    "AU07",
    "AU09",
    "AU10",
    "AU11",
    "AU12",
    "AU14",
    "AU15",
    "AU17",
    "AU20",
    "AU23",
    "AU24",
    "AU25",
    "AU26",
    "AU28",
    "AU45",
]
CompoundExpressionName = Literal[
    "happily surprised",
    "happily disgusted",
    "sadly fearful",
    "sadly angry",
    "sadly surprised",
    "sadly disgusted",
    "fearfully angry",
    "fearfully surprised",
    "angrily surprised",
    "angrily disgusted",
    "disgustedly surprised",
]
State = Literal["connecting", "live", "stalled", "reconnecting", "ended", "failed"]
EventReason = Literal["no_face", "stale"]
AudioStatus = Literal["speech", "silence", "no_sound"]
FaceStatus = Literal["ok", "warming_up", "held", "abstained"]
FaceReason = Literal[
    "turned_away",
    "blurred",
    "too_small",
    "too_dark",
    "unclear",
    "not_in_model",
    "not_read_yet",
    "engine_failed",
]
WindowName = Literal["1s", "6s", "12s"]


class TimingMs(TypedDict):
    """Milliseconds spent on this event; `total` from the decoded frame's entering to the hub."""

    perception: float
    queue: float
    inference: float
    total: float


class ModelInfo(TypedDict):
    """Which weights ran where."""

    name: str
    weights: str
    engine: str
    precision: str
    trained: bool
    # Weights of the sound branch, where it runs
    voice: NotRequired[str | None]
    # Inputs that the model was trained with and does not get here
    missing: NotRequired[list[str]]


class VoiceExpression(TypedDict):
    """Probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    label: ExpressionName
    probabilities: dict[ExpressionName, float]


class Voice(TypedDict):
    """What the sound branch heard in the 3 s of sound that end `age_ms` ago."""

    age_ms: int
    valence: float
    arousal: float
    std: dict[Literal["valence", "arousal"], float]
    expression: VoiceExpression
    # Probability that there was no voice
    no_speech: float
    # Track of the face that it is part of; null with none or several
    fused_into: int | None


class Audio(TypedDict):
    """The session's sound; with several faces it is fused into none of them."""

    status: AudioStatus
    # Age of the newest sound used
    age_ms: int | None
    # Level of the last 100 ms, dB relative to full scale
    level_db: NotRequired[float | None]
    # Reading of a voice; null without a recent one
    voice: NotRequired[Voice | None]


class HeadPose(TypedDict):
    """Degrees."""

    pitch: float
    yaw: float
    roll: float


class Pair(TypedDict):
    """One number for valence, one for arousal."""

    valence: float | None
    arousal: float | None


class Expression(TypedDict):
    """Probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    label: ExpressionName
    probabilities: dict[ExpressionName, float]
    # An eighth class, before the seven were renormalised
    other: NotRequired[float | None]


class WindowStatistics(TypedDict):
    """Over a trailing window; slope per second by least squares."""

    mean: float
    std: float
    range: float
    slope: float


class Window(TypedDict):
    """A trailing window of so many seconds."""

    valence: WindowStatistics | None
    arousal: WindowStatistics | None
    expression: ExpressionName | None


class Face(TypedDict):
    """One tracked face. Unknown is null with a reason, never 0."""

    track: int
    status: FaceStatus
    reasons: list[FaceReason]
    # Age of the newest picture that these values rest on
    age_ms: int
    # x, y, width, height in pixels
    box: list[float]
    confidence: float
    head_pose: HeadPose
    valence: float | None
    arousal: float | None
    raw: Pair
    std: Pair
    from_baseline: Pair
    expression: Expression | None
    aus: dict[ActionUnit, float]
    windows: dict[WindowName, Window | None]
    compound: NotRequired[dict[CompoundExpressionName, float] | None]
    # 68 points in pixels, when asked for
    landmarks: NotRequired[list[list[float]] | None]


class Event(TypedDict):
    """One moment of one session."""

    schema: Literal["affect/1"]
    session: str
    seq: int
    state: State
    reasons: list[EventReason]
    # Seconds on the session clock; never goes back
    t: float
    # UTC, ISO 8601, when the decoded frame entered the process
    captured_at: str | None
    timing_ms: TimingMs | None
    model: ModelInfo
    image_size: list[int] | None
    audio: Audio
    faces: list[Face]
    # A sentence at a change of state
    detail: NotRequired[str | None]
    # Name of the picture, when a folder is analysed
    file: NotRequired[str | None]
