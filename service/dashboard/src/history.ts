// What one face did, for as long as the page looks back: a ring of preallocated columns, so that memory stays flat.

import { ACTION_UNITS, EXPRESSIONS } from "./labels";
import type { ActionUnit, Face, WindowName } from "./event";

export const ROWS = 9000; // 5 min at 30 events/s
export const WINDOWS: readonly WindowName[] = ["1s", "6s", "12s"];
export const UNITS = Object.keys(ACTION_UNITS) as ActionUnit[];

// Columns. Unknown is NaN.
export const VALENCE = 0;
export const AROUSAL = 1;
export const RAW = 2; // + 0 valence, + 1 arousal; so for the next two
export const STD = 4;
export const MEAN = 6; // + 2 per window
export const TRACK = MEAN + 2 * WINDOWS.length;
export const EXPRESSION = TRACK + 1;
export const UNIT = EXPRESSION + EXPRESSIONS.length;
const COLUMNS = UNIT + UNITS.length;

const known = (x: number | null | undefined): number => x ?? NaN;

export class History {
  /** Rows ever pushed; row `n` lies at `n % ROWS`, and the newest `ROWS` are kept. */
  count = 0;
  readonly t = new Float64Array(ROWS);
  readonly columns = Array.from({ length: COLUMNS }, () => new Float32Array(ROWS));

  get first(): number {
    return Math.max(0, this.count - ROWS);
  }

  get newest(): number {
    return this.count ? (this.t[(this.count - 1) % ROWS] as number) : NaN;
  }

  clear(): void {
    this.count = 0;
  }

  /** `face`: what is known at `t` seconds; null where there is none. Time that does not go on is not taken. */
  push(t: number, face: Face | null): void {
    if (this.count && t <= this.newest) return;
    const row = this.count % ROWS;
    const set = (column: number, value: number): void => {
      (this.columns[column] as Float32Array)[row] = value;
    };
    this.t[row] = t;
    set(VALENCE, known(face?.valence));
    set(AROUSAL, known(face?.arousal));
    set(RAW, known(face?.raw.valence));
    set(RAW + 1, known(face?.raw.arousal));
    set(STD, known(face?.std.valence));
    set(STD + 1, known(face?.std.arousal));
    for (let w = 0; w < WINDOWS.length; w++) {
      const window = face?.windows[WINDOWS[w] as WindowName];
      set(MEAN + 2 * w, known(window?.valence?.mean));
      set(MEAN + 2 * w + 1, known(window?.arousal?.mean));
    }
    set(TRACK, known(face?.track));
    for (let e = 0; e < EXPRESSIONS.length; e++) {
      set(EXPRESSION + e, known(face?.expression?.probabilities[EXPRESSIONS[e] as (typeof EXPRESSIONS)[number]]));
    }
    for (let u = 0; u < UNITS.length; u++) set(UNIT + u, known(face?.aus[UNITS[u] as ActionUnit]));
    this.count++;
  }

  /** The first kept row whose time is `t` or later; `count` where there is none. */
  rowAt(t: number): number {
    let low = this.first;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.t[middle % ROWS] as number) < t) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  at(column: number, row: number): number {
    return (this.columns[column] as Float32Array)[row % ROWS] as number;
  }
}

const MOST_TRACKS = 8;

/** The histories of a session's faces, and of the one that is followed; the buffers of the longest gone are reused. */
export class Histories {
  readonly followed = new History();
  private readonly tracks = new Map<number, History>();

  of(track: number): History | undefined {
    return this.tracks.get(track);
  }

  push(t: number, faces: readonly Face[], followed: Face | null): void {
    this.followed.push(t, followed);
    for (const face of faces) this.claim(face.track).push(t, face);
  }

  clear(): void {
    this.followed.clear();
    for (const history of this.tracks.values()) history.clear();
  }

  private claim(track: number): History {
    let history = this.tracks.get(track);
    if (!history) {
      let oldest: [number, History] | undefined;
      for (const entry of this.tracks) {
        if (!oldest || (entry[1].newest || 0) < (oldest[1].newest || 0)) oldest = entry;
      }
      if (oldest && (this.tracks.size >= MOST_TRACKS || !oldest[1].count)) {
        this.tracks.delete(oldest[0]);
        history = oldest[1];
        history.clear();
      } else {
        history = new History();
      }
      this.tracks.set(track, history);
    }
    return history;
  }
}
