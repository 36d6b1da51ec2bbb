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
EventReason = Literal["no_face", "stale", "unreadable"]
Purpose = Literal["research", "usability", "accessibility", "art", "own use", "medical", "safety", "other"]
AudioStatus = Literal["speech", "silence", "no_sound"]
FaceStatus = Literal["ok", "warming_up", "held", "abstained"]
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
WindowName = Literal["1s", "6s", "12s"]
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


class TimingMs(TypedDict):
    """Hold the milliseconds that were spent on this event."""

    # Milliseconds of finding and following the faces
    perception: float
    # Milliseconds that the frame and its request waited before they were worked on
    queue: float
    # Milliseconds of the model, without the time in the queue
    inference: float
    # Milliseconds from the decoded frame's entering the process to the event's handing to the hub
    total: float


class ModelInfo(TypedDict):
    """Name the weights that gave the values, and the engine that ran them."""

    # Name of the model, as given to --model; GET /v1/models/{name}/card is its card
    name: str
    # Version of the weights, such as face-mt-2; GET /v1/models/{weights}/card is their card
    weights: str
    # Backend that runs the model, such as openvino
    engine: str
    # Precision that the model runs in: fp32, fp16, bf16 or int8
    precision: str
    # False if the weights are random; the values then mean nothing
    trained: bool
    # Version of the voice network's weights, whose card GET /v1/models/{voice}/card is; absent if the voice is not read
    voice: NotRequired[str | None]
    # Inputs that the model was trained with and does not get here, such as sound
    missing: NotRequired[list[str]]


class VoiceExpression(TypedDict):
    """Hold probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    # The likeliest of the seven expressions
    label: ExpressionName
    # Probability of each of the seven expressions, 0 to 1
    probabilities: dict[ExpressionName, float]


class VoiceBaseline(TypedDict):
    """Say how much of the speaker's voice the reading is compared with."""

    # Seconds of speech in the running baseline of the voice, the newest 300
    speech_s: float
    # Milliseconds since the newest speech in it; null while it is empty
    age_ms: int | None


class VoiceShare(TypedDict):
    """Say what part of the face's values is the voice's; 0 where it is fused into no face."""

    # Share of valence, 0 to 1
    valence: float
    # Share of arousal, 0 to 1
    arousal: float
    # Share of the expressions' probabilities, 0 to 1
    expression: float


class Voice(TypedDict):
    """Hold what the voice network read from the 3 s of sound that end `age_ms` ago."""

    # Milliseconds since the end of the sound that was read
    age_ms: int
    # Valence of the voice, -1 (unpleasant) to 1 (pleasant)
    valence: float
    # Arousal of the voice, -1 (calm) to 1 (excited)
    arousal: float
    # One standard deviation of the truth around both values, on their scale of -1 to 1
    std: dict[Literal["valence", "arousal"], float]
    # Expressions of the voice
    expression: VoiceExpression
    # Probability that the sound holds no voice, 0 to 1
    no_speech: float
    # The speaker's running baseline that the reading is compared with
    baseline: VoiceBaseline
    # Track of the face whose values include this reading; null with no face or several
    fused_into: int | None
    # Part of that face's values that is the voice's
    share: VoiceShare


class Audio(TypedDict):
    """Describe the session's sound. With several faces in view it is fused into none of them."""

    # speech: somebody speaks; silence: there is sound without speech; no_sound: no sound arrives
    status: AudioStatus
    # Age of the newest sound in milliseconds; null if there was none yet
    age_ms: int | None
    # Level of the last 100 ms in dB relative to full scale; null without sound
    level_db: NotRequired[float | None]
    # Newest reading of the voice; null without a recent one
    voice: NotRequired[Voice | None]


class HeadPose(TypedDict):
    """Hold the angles of the head in degrees, relative to the line from the camera to the face."""

    # Degrees; positive looks up
    pitch: float
    # Degrees; positive turns to the picture's right
    yaw: float
    # Degrees; positive tilts clockwise as the picture is seen
    roll: float


class Pair(TypedDict):
    """Hold one number for valence and one for arousal; null if unknown."""

    # The number for valence, on its scale of -1 to 1; null if unknown
    valence: float | None
    # The number for arousal, on its scale of -1 to 1; null if unknown
    arousal: float | None


class FaceBaseline(TypedDict):
    """Say what `from_baseline` is measured from: how this person looks when neutral."""

    # running: the median of what the model found neutral so far; neutral_step: what was read when the person was asked
    # to look neutral; null: neither yet
    source: Literal["running", "neutral_step"] | None
    # Valence of the neutral face, -1 to 1; null without a baseline
    valence: float | None
    # Arousal of the neutral face, -1 to 1; null without a baseline
    arousal: float | None
    # Seconds of neutral face that it rests on
    neutral_s: float
    # Why there is none; not_neutral_yet: neutral was not the likeliest expression for 3 s in all; not_in_model: the
    # model gives no expressions, so that only the neutral step can tell
    reasons: list[Literal["not_neutral_yet", "not_in_model"]]


class Expression(TypedDict):
    """Hold probabilities of the seven basic expressions; they sum to 1 within 0.001."""

    # The likeliest of the seven expressions
    label: ExpressionName
    # Probability of each of the seven expressions, 0 to 1, after the session's smoothing
    probabilities: dict[ExpressionName, float]
    # Probability of an eighth class, 0 to 1, before the seven were renormalised; absent without one
    other: NotRequired[float | None]


class Eyes(TypedDict):
    """Describe how far the eyes are open, and blinks. Looking far down lowers the lids as well."""

    # 0 (lids shut) to 1 (open as this person's eyes usually are); null if unknown
    openness: float | None
    # Whether the lids have been down for longer than a blink, 0.5 s; null if unknown
    closed: bool | None
    # Milliseconds that a blink took which ended in this picture; null in all other events
    blink_ms: int | None
    # Number of blinks since the track began
    blinks: int
    # Blinks a minute over the last 60 s, of the time in which the eyes were seen; null until they were seen for 10 s of
    # it
    blinks_per_min: float | None
    # Why values are null; too_few_frames: pictures are more than 0.1 s apart, so that blinks are missed
    reasons: list[SignalReason]


class HeadGesture(TypedDict):
    """Describe nods and shakes of the head."""

    # nod or shake while it goes on, until 0.6 s after its last swing; none: neither; null if unknown
    gesture: Literal["nod", "shake", "none"] | None
    # Number of nods since the track began; a row of swings is one nod
    nods: int
    # Number of shakes since the track began; a row of swings is one shake
    shakes: int
    # Why the gesture is null; too_few_frames: pictures are more than 0.2 s apart
    reasons: list[SignalReason]


class Speech(TypedDict):
    """Say whether this face speaks: its mouth moves while there is speech in the session's sound."""

    # Whether there is speech and this mouth moves, at least half as much as the liveliest one in view; null if unknown
    speaking: bool | None
    # How far the lips travelled to and fro in the last second, in distances between the outer eye corners; null if
    # unknown
    mouth_motion: float | None
    # Why values are null; no_sound: none arrives; too_few_frames: pictures are more than 0.2 s apart
    reasons: list[SignalReason]


class Gaze(TypedDict):
    """Say where the face looks, about 20 degrees off without calibration: left or right, up or down, not at what."""

    # Degrees from the camera's axis; positive looks to the picture's right; null if unknown
    yaw: float | None
    # Degrees from the camera's axis; positive looks up; null if unknown
    pitch: float | None
    # Milliseconds since the picture that was read; null if unknown
    age_ms: int | None
    # Why values are null; eyes_closed: there is no iris to be seen
    reasons: list[SignalReason]


class WindowStatistics(TypedDict):
    """Describe one quantity over a trailing window, on the quantity's own scale of -1 to 1."""

    # Mean of the unsmoothed values, -1 to 1
    mean: float
    # Standard deviation of the values over time, 0 to 1
    std: float
    # Largest minus smallest value, 0 to 2
    range: float
    # Change of the value per second, by least squares
    slope: float


class Window(TypedDict):
    """Describe a trailing window of so many seconds."""

    # Valence over the window; null if it was never read in it
    valence: WindowStatistics | None
    # Arousal over the window; null if it was never read in it
    arousal: WindowStatistics | None
    # The likeliest expression on average; null if none was read in the window
    expression: ExpressionName | None


class Face(TypedDict):
    """Describe one tracked face. An unknown value is null with a reason, never 0."""

    # Number of the tracked face; a person who comes back later gets a new one
    track: int
    # ok: read now; warming_up: read, but windows are not complete; held: the last values repeated; abstained: not read,
    # see reasons
    status: FaceStatus
    # Why values are null, or why the face was not read
    reasons: list[FaceReason]
    # Age in milliseconds of the newest picture that these values rest on
    age_ms: int
    # x, y, width and height of the face in pixels of the picture
    box: list[float]
    # Confidence that this is a face, 0 to 1
    confidence: float
    # Angles of the head in degrees
    head_pose: HeadPose
    # Smoothed valence, -1 (unpleasant) to 1 (pleasant); null if unknown
    valence: float | None
    # Smoothed arousal, -1 (calm) to 1 (excited); null if unknown
    arousal: float | None
    # Valence and arousal of the face alone, before smoothing and without the voice
    raw: Pair
    # One standard deviation of the truth around the value, on its scale of -1 to 1
    std: Pair
    # Smoothed value minus what it is when this person looks neutral; null while baseline.source is
    from_baseline: Pair
    # What from_baseline is measured from
    baseline: NotRequired[FaceBaseline | None]
    # The seven basic expressions; null if unknown
    expression: Expression | None
    # Probability that each facial action unit is present, 0 to 1; empty if unknown
    aus: dict[ActionUnit, float]
    # Intensity of facial action units, 0 (absent) to 5 (maximal); empty if unknown
    intensities: NotRequired[dict[ActionUnit, float]]
    # One standard deviation of each intensity, on its scale of 0 to 5; empty if unknown
    intensity_std: NotRequired[dict[ActionUnit, float]]
    # How likely the face is covered in part, 0 to 1; null if unknown
    occluded: NotRequired[float | None]
    # Opening of the eyes, and blinks
    eyes: NotRequired[Eyes | None]
    # Nods and shakes
    head_gesture: NotRequired[HeadGesture | None]
    # Whether this face speaks
    speech: NotRequired[Speech | None]
    # Where the face looks; absent unless asked for (--gaze)
    gaze: NotRequired[Gaze | None]
    # Statistics of the last 1, 6 and 12 seconds; null until the face was read for that long
    windows: dict[WindowName, Window | None]
    # Scores of RAF-DB's compound expressions, summing to 1; absent without them
    compound: NotRequired[dict[CompoundExpressionName, float] | None]
    # OpenFace's own intensities of action units, 0 to 5; absent where its predictors were not imported
    openface: NotRequired[dict[ActionUnit, float] | None]
    # The 68 points of iBUG as x, y in pixels of the picture; only where asked for
    landmarks: NotRequired[list[list[float]] | None]


class Marker(TypedDict):
    """Mark a moment of the session that a person or a program named, such as the begin of a stimulus."""

    # What the moment is called
    label: str
    # Seconds on the session's clock; may be earlier than the event's own t
    t: float
    # The same moment, UTC, ISO 8601; null for a recording, which has no wall clock
    at: str | None


class Alert(TypedDict):
    """Say that a rule's condition has held for as long as the rule asks (raised), or holds no more (cleared)."""

    # Name of the rule
    rule: str
    # The rule's condition, such as AU04 > 0.7 for 2 s
    condition: str
    # raised: the condition holds; cleared: it holds no more
    status: Literal["raised", "cleared"]
    # Seconds on the session's clock at which the condition began to hold, or to fail
    since: float
    # The value that the rule is about, in the unit of its field; null for a lost face
    value: float | None
    # Track of the face that the value is of; null where nobody is in view
    track: int | None


class NeutralFace(TypedDict):
    """Describe what the neutral step found in one face."""

    # Track of the face
    track: int
    # Median of valence, -1 to 1; null if it was not read enough
    valence: float | None
    # Median of arousal, -1 to 1; null if it was not read enough
    arousal: float | None
    # Seconds of the step in which the face was read; 5 are needed
    read_s: float
    # Part of those seconds, 0 to 1, in which the model too found neutral the likeliest expression; null for a model
    # without expressions
    neutral_share: float | None


class NeutralStep(TypedDict):
    """Describe the step in which people are asked to look neutral, so that from_baseline is measured from that."""

    # running: look neutral now; done: at least one face has its neutral; failed: no face was read for 5 s of the step,
    # or it was ended early
    state: Literal["running", "done", "failed"]
    # Seconds on the session's clock at which it began; null before that
    t: float | None
    # Seconds that are left
    left_s: float
    # The faces that were read in it; empty while it runs
    faces: list[NeutralFace]


class Event(TypedDict):
    """Describe one moment of one session; one with a marker or an alert is about nothing else, and has no faces."""

    # Version of this format
    schema: Literal["affect/1"]
    # Name of the session
    session: str
    # Counts from 1; a higher number says that tracks, windows and baseline began anew, as after a worker's death
    incarnation: NotRequired[int]
    # Number of the event within the incarnation; a gap means lost events
    seq: int
    # State of the session's source
    state: State
    # no_face: nobody is in the picture; stale: the source gives no pictures now; unreadable: the picture's file cannot
    # be read
    reasons: list[EventReason]
    # Seconds on the session's clock; never goes back within an incarnation
    t: float
    # When the decoded frame entered the process, UTC, ISO 8601; null for an event without a picture
    captured_at: str | None
    # Milliseconds spent; null for an event without a picture
    timing_ms: TimingMs | None
    # The model that gives the values
    model: ModelInfo
    # Width and height of the picture in pixels; null without one
    image_size: list[int] | None
    # The session's sound
    audio: Audio
    # The faces in the picture, and those just lost
    faces: list[Face]
    # What the live session is for; medical and safety claim the exceptions of Article 5(1)(f) of the EU AI Act. Absent
    # for the demo and for recordings that are analysed
    purpose: NotRequired[Purpose | None]
    # A sentence for people; only at a change of state
    detail: NotRequired[str | None]
    # Name of the picture's file; only where pictures are analysed
    file: NotRequired[str | None]
    # The moment that this event marks; only in events that are markers
    marker: NotRequired[Marker | None]
    # What a rule reports; only in events that are alerts
    alert: NotRequired[Alert | None]
    # The neutral step; only in the events of pictures while it runs, and in the one in which it ended
    neutral: NotRequired[NeutralStep | None]
