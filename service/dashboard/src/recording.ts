// The numbers of a session, kept in this page from one press to the next, with statistics of each face.

import type { AffectEvent, ExpressionName, Face, Marker } from "./event";
import { HEADER, tableLines } from "./table";

const CHUNK = 2000; // lines that become one Blob, which the browser keeps outside of the page's own memory
const MOST = 1_000_000; // lines, about nine hours of one face

class Moments {
  private count = 0;
  private mean = 0;
  private squares = 0;
  private low = Infinity;
  private high = -Infinity;

  /** Welford 1962. */
  add(value: number): void {
    this.count++;
    const by = value - this.mean;
    this.mean += by / this.count;
    this.squares += by * (value - this.mean);
    this.low = Math.min(this.low, value);
    this.high = Math.max(this.high, value);
  }

  get statistics(): Statistics | null {
    if (!this.count) return null;
    const std = this.count > 1 ? Math.sqrt(this.squares / (this.count - 1)) : 0;
    return { mean: short(this.mean), std: short(std), min: short(this.low), max: short(this.high) };
  }
}

const short = (value: number): number => Number(value.toFixed(4));

export interface Statistics {
  mean: number;
  std: number;
  min: number;
  max: number;
}

export interface FaceSummary {
  track: number;
  /** Share of the face's pictures in which it was read. */
  read: number;
  valence: Statistics | null;
  arousal: Statistics | null;
  /** Share of the pictures that were read in which each expression led. */
  expressions: Partial<Record<ExpressionName, number>>;
}

export interface Summary {
  session: string;
  /** What the session is for; null where nobody is read, as in the demo. */
  purpose: string | null;
  weights: string;
  trained: boolean;
  began: string;
  seconds: number;
  pictures: number;
  /** Events that did not reach this page. */
  lost_events: number;
  faces: FaceSummary[];
  markers: { t: number; label: string }[];
  alerts: { t: number; rule: string; status: string }[];
}

class FaceCount {
  private pictures = 0;
  private read = 0;
  private readonly valence = new Moments();
  private readonly arousal = new Moments();
  private readonly leading = new Map<ExpressionName, number>();

  add(face: Face): void {
    this.pictures++;
    if (face.status !== "ok" && face.status !== "warming_up") return;
    this.read++;
    if (face.valence !== null) this.valence.add(face.valence);
    if (face.arousal !== null) this.arousal.add(face.arousal);
    if (face.expression) this.leading.set(face.expression.label, (this.leading.get(face.expression.label) ?? 0) + 1);
  }

  summary(track: number): FaceSummary {
    const shares = [...this.leading].sort((a, b) => b[1] - a[1]).map(([name, n]) => [name, short(n / this.read)] as const);
    return {
      track,
      read: short(this.read / this.pictures),
      valence: this.valence.statistics,
      arousal: this.arousal.statistics,
      expressions: Object.fromEntries(shares),
    };
  }
}

export class Recording {
  private readonly chunks: Blob[] = [];
  private lines: string[] = [HEADER];
  private count = 0;
  private frame = 0;
  private lost = 0;
  private seq: number | null = null;
  private first: AffectEvent | null = null;
  private last: AffectEvent | null = null;
  private readonly began = new Date();
  private readonly faces = new Map<number, FaceCount>();
  private readonly markers: Summary["markers"] = [];
  private readonly alerts: Summary["alerts"] = [];
  private waiting: string[] = []; // labels of markers since the picture before
  private newest: Marker | null = null;

  /** Whether as much is kept as there is room for. */
  get full(): boolean {
    return this.count >= MOST;
  }

  /** Seconds from the first event to the newest. */
  get seconds(): number {
    return this.first && this.last ? this.last.t - this.first.t : 0;
  }

  add(event: AffectEvent): void {
    if (this.full) return;
    if (this.seq !== null && event.seq > this.seq + 1) this.lost += event.seq - this.seq - 1;
    this.seq = event.seq;
    if (event.marker) {
      this.markers.push({ t: event.marker.t, label: event.marker.label });
      this.waiting.push(event.marker.label);
      this.newest = event.marker;
    }
    if (event.alert) this.alerts.push({ t: event.t, rule: event.alert.rule, status: event.alert.status });
    if (!event.image_size) return;
    this.first ??= event;
    this.last = event;
    this.frame++;
    for (const line of tableLines(event, this.frame, this.waiting.splice(0), this.newest)) this.lines.push(line);
    this.count += Math.max(1, event.faces.length);
    for (const face of event.faces) {
      let counted = this.faces.get(face.track);
      if (!counted) this.faces.set(face.track, (counted = new FaceCount()));
      counted.add(face);
    }
    if (this.lines.length >= CHUNK) this.fold();
  }

  /** The table, in the columns of `analyze`'s exports. */
  csv(): Blob {
    this.fold();
    return new Blob(this.chunks, { type: "text/csv" });
  }

  summary(): Summary {
    return {
      session: this.last?.session ?? "",
      purpose: this.last?.purpose ?? null,
      weights: this.last?.model.weights ?? "",
      trained: this.last?.model.trained ?? false,
      began: this.began.toISOString(),
      seconds: Number(this.seconds.toFixed(3)),
      pictures: this.frame,
      lost_events: this.lost,
      faces: [...this.faces].map(([track, face]) => face.summary(track)).sort((a, b) => a.track - b.track),
      markers: this.markers,
      alerts: this.alerts,
    };
  }

  private fold(): void {
    if (this.lines.length) this.chunks.push(new Blob([`${this.lines.join("\n")}\n`]));
    this.lines = [];
  }
}
