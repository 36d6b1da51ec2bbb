// What the service sends: events (their types are generated from the schema) and the answers of the API.

import type { State } from "../../../affectstream/js/src/event";

export type { ActionUnit, AffectEvent, Alert, ExpressionName, Face, FaceReason, FaceStatus, Marker, Pair, State, WindowName, WindowStatistics } from "../../../affectstream/js/src/event";

export interface SessionInfo {
  id: string;
  /** Grows when the session is opened anew under its name. */
  incarnation: number;
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
    neutral: { state: "running" | "done" | "failed"; left_s: number } | null;
  };
}

/** What the page's token may do. */
export interface Access {
  role: "view" | "send" | "manage";
  /** The sessions that it opened by WHIP. */
  own: string[];
}

export interface ModelList {
  models: { name: string; weights: string; engine: string; precision: string; trained: boolean }[];
  licences: string[];
  /** What a session may choose; the service's own is first. */
  available: string[];
}
