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
  /** Name of the model, as given to --model */
  name: string;
  /** Version of the weights, such as face-mt-2 */
  weights: string;
  /** Backend that runs the model, such as openvino */
  engine: string;
  /** Precision that the model runs in: fp32, fp16, bf16 or int8 */
  precision: string;
  /** False if the weights are random; the values then mean nothing */
  trained: boolean;
  /** Version of the voice network's weights; absent if the voice is not read */
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
  /** One standard deviation of the truth around the voice's valence and arousal */
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
  /** The number for valence; null if unknown */
  valence: number | null;
  /** The number for arousal; null if unknown */
  arousal: number | null;
}

/** Hold probabilities of the seven basic expressions; they sum to 1 within 0.001. */
export interface Expression {
  /** The likeliest of the seven expressions */
  label: ExpressionName;
  /** Probability of each of the seven expressions, 0 to 1, smoothed over 0.2 s */
  probabilities: Record<ExpressionName, number>;
  /** Probability of an eighth class, 0 to 1, before the seven were renormalised; absent without one */
  other?: number | null;
}

/** Describe one quantity over a trailing window. */
export interface WindowStatistics {
  /** Mean of the unsmoothed values */
  mean: number;
  /** Standard deviation of the values over time */
  std: number;
  /** Largest minus smallest value */
  range: number;
  /** Change per second, by least squares */
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
  /** ok: read now; warming_up: read, but windows or baseline are not complete; held: the last values repeated; abstained: not read, see reasons */
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
  /** One standard deviation of the truth around the value */
  std: Pair;
  /** Smoothed value minus what it is when this person looks neutral; null until 3 s were seen */
  from_baseline: Pair;
  /** The seven basic expressions; null if unknown */
  expression: Expression | null;
  /** Probability that each facial action unit is present, 0 to 1; empty if unknown */
  aus: Partial<Record<ActionUnit, number>>;
  /** Intensity of facial action units, 0 (absent) to 5 (maximal); empty if unknown */
  intensities?: Partial<Record<ActionUnit, number>>;
  /** One standard deviation of each intensity; empty if unknown */
  intensity_std?: Partial<Record<ActionUnit, number>>;
  /** How likely the face is covered in part, 0 to 1; null if unknown */
  occluded?: number | null;
  /** Statistics of the last 1, 6 and 12 seconds; null until the face was read for that long */
  windows: Record<WindowName, Window | null>;
  /** Scores of RAF-DB's compound expressions, summing to 1; absent without them */
  compound?: Record<CompoundExpressionName, number> | null;
  /** The 68 points of iBUG as x, y in pixels of the picture; only where asked for */
  landmarks?: number[][] | null;
}

/** Describe one moment of one session. */
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
  /** A sentence for people; only at a change of state */
  detail?: string | null;
  /** Name of the picture's file; only where pictures are analysed */
  file?: string | null;
}
