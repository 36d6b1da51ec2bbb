// Types of an event, schema affect/1. Unknown is null, never 0.
// `make docs` writes this file from the schema; change service/events.py or service/event_types.py.

export type ExpressionName =
  | "neutral"
  | "anger"
  | "disgust"
  | "fear"
  | "happiness"
  | "sadness"
  | "surprise";

export type ActionUnit =
  | "AU01"
  | "AU02"
  | "AU04"
  | "AU05"
  | "AU06"
  | "AU07"
  | "AU09"
  | "AU10"
  | "AU11"
  | "AU12"
  | "AU14"
  | "AU15"
  | "AU17"
  | "AU20"
  | "AU23"
  | "AU24"
  | "AU25"
  | "AU26"
  | "AU28"
  | "AU45";

export type CompoundExpressionName =
  | "happily surprised"
  | "happily disgusted"
  | "sadly fearful"
  | "sadly angry"
  | "sadly surprised"
  | "sadly disgusted"
  | "fearfully angry"
  | "fearfully surprised"
  | "angrily surprised"
  | "angrily disgusted"
  | "disgustedly surprised";

export type State =
  | "connecting"
  | "live"
  | "stalled"
  | "reconnecting"
  | "ended"
  | "failed";

export type EventReason =
  | "no_face"
  | "stale"
  | "unreadable";

export type Purpose =
  | "research"
  | "usability"
  | "accessibility"
  | "art"
  | "own use"
  | "medical"
  | "safety"
  | "other";

export type AudioStatus =
  | "speech"
  | "silence"
  | "no_sound";

export type FaceStatus =
  | "ok"
  | "warming_up"
  | "held"
  | "abstained";

export type FaceReason =
  | "turned_away"
  | "blurred"
  | "too_small"
  | "too_dark"
  | "occluded"
  | "unclear"
  | "not_in_model"
  | "not_read_yet"
  | "engine_failed";

export type WindowName =
  | "1s"
  | "6s"
  | "12s";

export type SignalReason =
  | "turned_away"
  | "blurred"
  | "too_small"
  | "too_dark"
  | "occluded"
  | "unclear"
  | "no_face"
  | "no_sound"
  | "too_few_frames"
  | "warming_up"
  | "eyes_closed";

/** Hold the milliseconds that were spent on this event. */
export interface TimingMs {
  /** Milliseconds of finding and following the faces */
  perception: number;
  /** Milliseconds that the frame and its request waited before they were worked on */
  queue: number;
  /** Milliseconds of the model, without the time in the queue */
  inference: number;
  /** Milliseconds from the decoded frame's entering the process to the event's handing to the hub */
  total: number;
}

/** Name the weights that gave the values, and the engine that ran them. */
export interface ModelInfo {
  /** Name of the model, as given to --model; GET /v1/models/{name}/card is its card */
  name: string;
  /** Version of the weights, such as face-mt-2; GET /v1/models/{weights}/card is their card */
  weights: string;
  /** Backend that runs the model, such as openvino */
  engine: string;
  /** Precision that the model runs in: fp32, fp16, bf16 or int8 */
  precision: string;
  /** False if the weights are random; the values then mean nothing */
  trained: boolean;
  /** Version of the voice network's weights, whose card GET /v1/models/{voice}/card is; absent if the voice is not read */
  voice?: string | null;
  /** Inputs that the model was trained with and does not get here, such as sound */
  missing?: string[];
}

/** Hold probabilities of the seven basic expressions; they sum to 1 within 0.001. */
export interface VoiceExpression {
  /** The likeliest of the seven expressions */
  label: ExpressionName;
  /** Probability of each of the seven expressions, 0 to 1 */
  probabilities: Record<ExpressionName, number>;
}

/** Say how much of the speaker's voice the reading is compared with. */
export interface VoiceBaseline {
  /** Seconds of speech in the running baseline of the voice, the newest 300 */
  speech_s: number;
  /** Milliseconds since the newest speech in it; null while it is empty */
  age_ms: number | null;
}

/** Say what part of the face's values is the voice's; 0 where it is fused into no face. */
export interface VoiceShare {
  /** Share of valence, 0 to 1 */
  valence: number;
  /** Share of arousal, 0 to 1 */
  arousal: number;
  /** Share of the expressions' probabilities, 0 to 1 */
  expression: number;
}

/** Hold what the voice network read from the 3 s of sound that end `age_ms` ago. */
export interface Voice {
  /** Milliseconds since the end of the sound that was read */
  age_ms: number;
  /** Valence of the voice, -1 (unpleasant) to 1 (pleasant) */
  valence: number;
  /** Arousal of the voice, -1 (calm) to 1 (excited) */
  arousal: number;
  /** One standard deviation of the truth around both values, on their scale of -1 to 1 */
  std: Record<"valence" | "arousal", number>;
  /** Expressions of the voice */
  expression: VoiceExpression;
  /** Probability that the sound holds no voice, 0 to 1 */
  no_speech: number;
  /** The speaker's running baseline that the reading is compared with */
  baseline: VoiceBaseline;
  /** Track of the face whose values include this reading; null with no face or several */
  fused_into: number | null;
  /** Part of that face's values that is the voice's */
  share: VoiceShare;
}

/** Describe the session's sound. With several faces in view it is fused into none of them. */
export interface Audio {
  /** speech: somebody speaks; silence: there is sound without speech; no_sound: no sound arrives */
  status: AudioStatus;
  /** Age of the newest sound in milliseconds; null if there was none yet */
  age_ms: number | null;
  /** Level of the last 100 ms in dB relative to full scale; null without sound */
  level_db?: number | null;
  /** Newest reading of the voice; null without a recent one */
  voice?: Voice | null;
}

/** Hold the angles of the head in degrees, relative to the line from the camera to the face. */
export interface HeadPose {
  /** Degrees; positive looks up */
  pitch: number;
  /** Degrees; positive turns to the picture's right */
  yaw: number;
  /** Degrees; positive tilts clockwise as the picture is seen */
  roll: number;
}

/** Hold one number for valence and one for arousal; null if unknown. */
export interface Pair {
  /** The number for valence, on its scale of -1 to 1; null if unknown */
  valence: number | null;
  /** The number for arousal, on its scale of -1 to 1; null if unknown */
  arousal: number | null;
}

/** Say what `from_baseline` is measured from: how this person looks when neutral. */
export interface FaceBaseline {
  /** running: the median of what the model found neutral so far; neutral_step: what was read when the person was asked to look neutral; null: neither yet */
  source: "running" | "neutral_step" | null;
  /** Valence of the neutral face, -1 to 1; null without a baseline */
  valence: number | null;
  /** Arousal of the neutral face, -1 to 1; null without a baseline */
  arousal: number | null;
  /** Seconds of neutral face that it rests on */
  neutral_s: number;
  /** Why there is none; not_neutral_yet: neutral was not the likeliest expression for 3 s in all; not_in_model: the model gives no expressions, so that only the neutral step can tell */
  reasons: ("not_neutral_yet" | "not_in_model")[];
}

/** Hold probabilities of the seven basic expressions; they sum to 1 within 0.001. */
export interface Expression {
  /** The likeliest of the seven expressions */
  label: ExpressionName;
  /** Probability of each of the seven expressions, 0 to 1, after the session's smoothing */
  probabilities: Record<ExpressionName, number>;
  /** Probability of an eighth class, 0 to 1, before the seven were renormalised; absent without one */
  other?: number | null;
}

/** Describe how far the eyes are open, and blinks. Looking far down lowers the lids as well. */
export interface Eyes {
  /** 0 (lids shut) to 1 (open as this person's eyes usually are); null if unknown */
  openness: number | null;
  /** Whether the lids have been down for longer than a blink, 0.5 s; null if unknown */
  closed: boolean | null;
  /** Milliseconds that a blink took which ended in this picture; null in all other events */
  blink_ms: number | null;
  /** Number of blinks since the track began */
  blinks: number;
  /** Blinks a minute over the last 60 s, of the time in which the eyes were seen; null until they were seen for 10 s of it */
  blinks_per_min: number | null;
  /** Why values are null; too_few_frames: pictures are more than 0.1 s apart, so that blinks are missed */
  reasons: SignalReason[];
}

/** Describe nods and shakes of the head. */
export interface HeadGesture {
  /** nod or shake while it goes on, until 0.6 s after its last swing; none: neither; null if unknown */
  gesture: "nod" | "shake" | "none" | null;
  /** Number of nods since the track began; a row of swings is one nod */
  nods: number;
  /** Number of shakes since the track began; a row of swings is one shake */
  shakes: number;
  /** Why the gesture is null; too_few_frames: pictures are more than 0.2 s apart */
  reasons: SignalReason[];
}

/** Say whether this face speaks: its mouth moves while there is speech in the session's sound. */
export interface Speech {
  /** Whether there is speech and this mouth moves, at least half as much as the liveliest one in view; null if unknown */
  speaking: boolean | null;
  /** How far the lips travelled to and fro in the last second, in distances between the outer eye corners; null if unknown */
  mouth_motion: number | null;
  /** Why values are null; no_sound: none arrives; too_few_frames: pictures are more than 0.2 s apart */
  reasons: SignalReason[];
}

/** Say where the face looks, about 20 degrees off without calibration: left or right, up or down, not at what. */
export interface Gaze {
  /** Degrees from the camera's axis; positive looks to the picture's right; null if unknown */
  yaw: number | null;
  /** Degrees from the camera's axis; positive looks up; null if unknown */
  pitch: number | null;
  /** Milliseconds since the picture that was read; null if unknown */
  age_ms: number | null;
  /** Why values are null; eyes_closed: there is no iris to be seen */
  reasons: SignalReason[];
}

/** Describe one quantity over a trailing window, on the quantity's own scale of -1 to 1. */
export interface WindowStatistics {
  /** Mean of the unsmoothed values, -1 to 1 */
  mean: number;
  /** Standard deviation of the values over time, 0 to 1 */
  std: number;
  /** Largest minus smallest value, 0 to 2 */
  range: number;
  /** Change of the value per second, by least squares */
  slope: number;
}

/** Describe a trailing window of so many seconds. */
export interface Window {
  /** Valence over the window; null if it was never read in it */
  valence: WindowStatistics | null;
  /** Arousal over the window; null if it was never read in it */
  arousal: WindowStatistics | null;
  /** The likeliest expression on average; null if none was read in the window */
  expression: ExpressionName | null;
}

/** Describe one tracked face. An unknown value is null with a reason, never 0. */
export interface Face {
  /** Number of the tracked face; a person who comes back later gets a new one */
  track: number;
  /** ok: read now; warming_up: read, but windows are not complete; held: the last values repeated; abstained: not read, see reasons */
  status: FaceStatus;
  /** Why values are null, or why the face was not read */
  reasons: FaceReason[];
  /** Age in milliseconds of the newest picture that these values rest on */
  age_ms: number;
  /** x, y, width and height of the face in pixels of the picture */
  box: [number, number, number, number];
  /** Confidence that this is a face, 0 to 1 */
  confidence: number;
  /** Angles of the head in degrees */
  head_pose: HeadPose;
  /** Smoothed valence, -1 (unpleasant) to 1 (pleasant); null if unknown */
  valence: number | null;
  /** Smoothed arousal, -1 (calm) to 1 (excited); null if unknown */
  arousal: number | null;
  /** Valence and arousal of the face alone, before smoothing and without the voice */
  raw: Pair;
  /** One standard deviation of the truth around the value, on its scale of -1 to 1 */
  std: Pair;
  /** Smoothed value minus what it is when this person looks neutral; null while baseline.source is */
  from_baseline: Pair;
  /** What from_baseline is measured from */
  baseline?: FaceBaseline | null;
  /** The seven basic expressions; null if unknown */
  expression: Expression | null;
  /** Probability that each facial action unit is present, 0 to 1; empty if unknown */
  aus: Partial<Record<ActionUnit, number>>;
  /** Intensity of facial action units, 0 (absent) to 5 (maximal); empty if unknown */
  intensities?: Partial<Record<ActionUnit, number>>;
  /** One standard deviation of each intensity, on its scale of 0 to 5; empty if unknown */
  intensity_std?: Partial<Record<ActionUnit, number>>;
  /** How likely the face is covered in part, 0 to 1; null if unknown */
  occluded?: number | null;
  /** Opening of the eyes, and blinks */
  eyes?: Eyes | null;
  /** Nods and shakes */
  head_gesture?: HeadGesture | null;
  /** Whether this face speaks */
  speech?: Speech | null;
  /** Where the face looks; absent unless asked for (--gaze) */
  gaze?: Gaze | null;
  /** Statistics of the last 1, 6 and 12 seconds; null until the face was read for that long */
  windows: Record<WindowName, Window | null>;
  /** Scores of RAF-DB's compound expressions, summing to 1; absent without them */
  compound?: Record<CompoundExpressionName, number> | null;
  /** OpenFace's own intensities of action units, 0 to 5; absent where its predictors were not imported */
  openface?: Partial<Record<ActionUnit, number>> | null;
  /** The 68 points of iBUG as x, y in pixels of the picture; only where asked for */
  landmarks?: number[][] | null;
}

/** Mark a moment of the session that a person or a program named, such as the begin of a stimulus. */
export interface Marker {
  /** What the moment is called */
  label: string;
  /** Seconds on the session's clock; may be earlier than the event's own t */
  t: number;
  /** The same moment, UTC, ISO 8601; null for a recording, which has no wall clock */
  at: string | null;
}

/** Say that a rule's condition has held for as long as the rule asks (raised), or holds no more (cleared). */
export interface Alert {
  /** Name of the rule */
  rule: string;
  /** The rule's condition, such as AU04 > 0.7 for 2 s */
  condition: string;
  /** raised: the condition holds; cleared: it holds no more */
  status: "raised" | "cleared";
  /** Seconds on the session's clock at which the condition began to hold, or to fail */
  since: number;
  /** The value that the rule is about, in the unit of its field; null for a lost face */
  value: number | null;
  /** Track of the face that the value is of; null where nobody is in view */
  track: number | null;
}

/** Describe what the neutral step found in one face. */
export interface NeutralFace {
  /** Track of the face */
  track: number;
  /** Median of valence, -1 to 1; null if it was not read enough */
  valence: number | null;
  /** Median of arousal, -1 to 1; null if it was not read enough */
  arousal: number | null;
  /** Seconds of the step in which the face was read; 5 are needed */
  read_s: number;
  /** Part of those seconds, 0 to 1, in which the model too found neutral the likeliest expression; null for a model without expressions */
  neutral_share: number | null;
}

/** Describe the step in which people are asked to look neutral, so that from_baseline is measured from that. */
export interface NeutralStep {
  /** running: look neutral now; done: at least one face has its neutral; failed: no face was read for 5 s of the step, or it was ended early */
  state: "running" | "done" | "failed";
  /** Seconds on the session's clock at which it began; null before that */
  t: number | null;
  /** Seconds that are left */
  left_s: number;
  /** The faces that were read in it; empty while it runs */
  faces: NeutralFace[];
}

/** Describe one moment of one session; one with a marker or an alert is about nothing else, and has no faces. */
export interface AffectEvent {
  /** Version of this format */
  schema: "affect/1";
  /** Name of the session */
  session: string;
  /** Counts from 1; a higher number says that tracks, windows and baseline began anew, as after a worker's death */
  incarnation?: number;
  /** Number of the event within the incarnation; a gap means lost events */
  seq: number;
  /** State of the session's source */
  state: State;
  /** no_face: nobody is in the picture; stale: the source gives no pictures now; unreadable: the picture's file cannot be read */
  reasons: EventReason[];
  /** Seconds on the session's clock; never goes back within an incarnation */
  t: number;
  /** When the decoded frame entered the process, UTC, ISO 8601; null for an event without a picture */
  captured_at: string | null;
  /** Milliseconds spent; null for an event without a picture */
  timing_ms: TimingMs | null;
  /** The model that gives the values */
  model: ModelInfo;
  /** Width and height of the picture in pixels; null without one */
  image_size: [number, number] | null;
  /** The session's sound */
  audio: Audio;
  /** The faces in the picture, and those just lost */
  faces: Face[];
  /** What the live session is for; medical and safety claim the exceptions of Article 5(1)(f) of the EU AI Act. Absent for the demo and for recordings that are analysed */
  purpose?: Purpose | null;
  /** A sentence for people; only at a change of state */
  detail?: string | null;
  /** Name of the picture's file; only where pictures are analysed */
  file?: string | null;
  /** The moment that this event marks; only in events that are markers */
  marker?: Marker | null;
  /** What a rule reports; only in events that are alerts */
  alert?: Alert | null;
  /** The neutral step; only in the events of pictures while it runs, and in the one in which it ended */
  neutral?: NeutralStep | null;
}
