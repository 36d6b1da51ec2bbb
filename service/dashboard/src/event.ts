// What the service sends: events (their types are generated from the schema) and the answers of the API.

import type { State } from "./affect_event";

export type { ActionUnit, AffectEvent, ExpressionName, Face, FaceReason, FaceStatus, Pair, State, WindowName, WindowStatistics } from "./affect_event";

export interface SessionInfo {
  id: string;
  source: string;
  state: State;
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
