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
  | "stale";

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
  | "unclear"
  | "not_in_model"
  | "not_read_yet"
  | "engine_failed";

export type WindowName =
  | "1s"
  | "6s"
  | "12s";

/** Milliseconds spent on this event; `total` from the decoded frame's entering to the hub. */
export interface TimingMs {
  perception: number;
  queue: number;
  inference: number;
  total: number;
}

/** Which weights ran where. */
export interface ModelInfo {
  name: string;
  weights: string;
  engine: string;
  precision: string;
  trained: boolean;
  /** Weights of the sound branch, where it runs */
  voice?: string | null;
  /** Inputs that the model was trained with and does not get here */
  missing?: string[];
}

/** Probabilities of the seven basic expressions; they sum to 1 within 0.001. */
export interface VoiceExpression {
  label: ExpressionName;
  probabilities: Record<ExpressionName, number>;
}

/** What the sound branch heard in the 3 s of sound that end `age_ms` ago. */
export interface Voice {
  age_ms: number;
  valence: number;
  arousal: number;
  std: Record<"valence" | "arousal", number>;
  expression: VoiceExpression;
  /** Probability that there was no voice */
  no_speech: number;
  /** Track of the face that it is part of; null with none or several */
  fused_into: number | null;
}

/** The session's sound; with several faces it is fused into none of them. */
export interface Audio {
  status: AudioStatus;
  /** Age of the newest sound used */
  age_ms: number | null;
  /** Level of the last 100 ms, dB relative to full scale */
  level_db?: number | null;
  /** Reading of a voice; null without a recent one */
  voice?: Voice | null;
}

/** Degrees. */
export interface HeadPose {
  pitch: number;
  yaw: number;
  roll: number;
}

/** One number for valence, one for arousal. */
export interface Pair {
  valence: number | null;
  arousal: number | null;
}

/** Probabilities of the seven basic expressions; they sum to 1 within 0.001. */
export interface Expression {
  label: ExpressionName;
  probabilities: Record<ExpressionName, number>;
  /** An eighth class, before the seven were renormalised */
  other?: number | null;
}

/** Over a trailing window; slope per second by least squares. */
export interface WindowStatistics {
  mean: number;
  std: number;
  range: number;
  slope: number;
}

/** A trailing window of so many seconds. */
export interface Window {
  valence: WindowStatistics | null;
  arousal: WindowStatistics | null;
  expression: ExpressionName | null;
}

/** One tracked face. Unknown is null with a reason, never 0. */
export interface Face {
  track: number;
  status: FaceStatus;
  reasons: FaceReason[];
  /** Age of the newest picture that these values rest on */
  age_ms: number;
  /** x, y, width, height in pixels */
  box: [number, number, number, number];
  confidence: number;
  head_pose: HeadPose;
  valence: number | null;
  arousal: number | null;
  raw: Pair;
  std: Pair;
  from_baseline: Pair;
  expression: Expression | null;
  aus: Partial<Record<ActionUnit, number>>;
  windows: Record<WindowName, Window | null>;
  compound?: Record<CompoundExpressionName, number> | null;
  /** 68 points in pixels, when asked for */
  landmarks?: number[][] | null;
}

/** One moment of one session. */
export interface AffectEvent {
  schema: "affect/1";
  session: string;
  seq: number;
  state: State;
  reasons: EventReason[];
  /** Seconds on the session clock; never goes back */
  t: number;
  /** UTC, ISO 8601, when the decoded frame entered the process */
  captured_at: string | null;
  timing_ms: TimingMs | null;
  model: ModelInfo;
  image_size: [number, number] | null;
  audio: Audio;
  faces: Face[];
  /** A sentence at a change of state */
  detail?: string | null;
  /** Name of the picture, when a folder is analysed */
  file?: string | null;
}
