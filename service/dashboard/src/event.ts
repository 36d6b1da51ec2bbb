// What the stream says, schema affect/1 (GET /v1/schema is the whole of it). Unknown is null, never 0.

import type { EXPRESSIONS } from "./labels";

export type ExpressionName = (typeof EXPRESSIONS)[number];
export type SourceState = "connecting" | "live" | "stalled" | "reconnecting" | "ended" | "failed";
export type FaceStatus = "ok" | "warming_up" | "held" | "abstained";
export type WindowName = "1s" | "6s" | "12s";

export interface Pair {
  valence: number | null;
  arousal: number | null;
}

export interface WindowStatistics {
  mean: number;
  std: number;
  range: number;
  slope: number;
}

export interface Voice {
  age_ms: number;
  valence: number;
  arousal: number;
  expression: { label: ExpressionName };
  fused_into: number | null;
}

export interface Face {
  track: number;
  status: FaceStatus;
  reasons: string[];
  age_ms: number;
  box: [number, number, number, number];
  confidence: number;
  valence: number | null;
  arousal: number | null;
  raw: Pair;
  std: Pair;
  from_baseline: Pair;
  expression: { label: ExpressionName; probabilities: Record<ExpressionName, number>; other?: number | null } | null;
  aus: Record<string, number>;
  windows: Record<WindowName, { valence: WindowStatistics | null; arousal: WindowStatistics | null } | null>;
  landmarks?: [number, number][] | null;
  head_pose?: { pitch: number; yaw: number; roll: number };
  occluded?: number | null;
}

export interface AffectEvent {
  schema: "affect/1";
  session: string;
  seq: number;
  state: SourceState;
  reasons: string[];
  /** Seconds on the session clock; never goes back. */
  t: number;
  captured_at: string | null;
  timing_ms: { perception: number; queue: number; inference: number; total: number } | null;
  model: { name: string; weights: string; engine: string; precision: string; trained: boolean };
  image_size: [number, number] | null;
  audio: { status: "speech" | "silence" | "no_sound"; age_ms: number | null; level_db?: number | null; voice?: Voice | null };
  faces: Face[];
  detail?: string | null;
}

export interface SessionInfo {
  id: string;
  source: string;
  state: SourceState;
  detail: string;
  figures: {
    fps: number;
    latency_ms: { p50: number | null; p95: number | null };
    dropped: Record<string, number>;
    faces: number;
    events: number;
    reconnects: number;
    uptime_s: number;
  };
}

export interface ModelList {
  models: { name: string; weights: string; engine: string; precision: string; trained: boolean }[];
  licences: string[];
}
