// What one face did, for as long as the page looks back: a ring of preallocated columns, so that memory stays flat.

import { ACTION_UNITS, EXPRESSIONS } from "./labels";
import type { ActionUnit, ExpressionName, Face, Pair, WindowName } from "./event";

export const ROWS = 9000; // 5 min at 30 events/s
const SESSION_ROWS = 6 * 3600; // 6 h at one row a second
const LATEST_PAST = 600; // rows of the page's own after which the service's past is not waited for
const LEAD = 900; // of them, that are put before the rows of every event
const LATEST_LEAD = 3000; // rows of every event after which it is too late for that
const SESSION_STEP = 1; // s between rows of the whole session
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
export const BASELINE = UNIT + UNITS.length; // + 0 valence, + 1 arousal
const COLUMNS = BASELINE + 2;

// Columns by the names that the service's history gives them.
const SERVED: Readonly<Record<string, number>> = {
  track: TRACK,
  valence: VALENCE,
  arousal: AROUSAL,
  std_valence: STD,
  std_arousal: STD + 1,
  from_baseline_valence: BASELINE,
  from_baseline_arousal: BASELINE + 1,
  ...Object.fromEntries(EXPRESSIONS.map((name, e) => [name, EXPRESSION + e])),
  ...Object.fromEntries(UNITS.map((name, u) => [name, UNIT + u])),
};

const known = (x: number | null | undefined): number => x ?? NaN;

export class History {
  /** Rows ever pushed; row `n` lies at `n % rows`, and the newest `rows` are kept. */
  count = 0;
  readonly t: Float64Array;
  private readonly columns: Float32Array[];

  constructor(readonly rows = ROWS) {
    this.t = new Float64Array(rows);
    this.columns = Array.from({ length: COLUMNS }, () => new Float32Array(rows));
  }

  get first(): number {
    return Math.max(0, this.count - this.rows);
  }

  get newest(): number {
    return this.count ? this.time(this.count - 1) : NaN;
  }

  get oldest(): number {
    return this.count ? this.time(this.first) : NaN;
  }

  time(row: number): number {
    return this.t[row % this.rows] as number;
  }

  clear(): void {
    this.count = 0;
  }

  /** `face`: what is known at `t` seconds; null where there is none. Time that does not go on is not taken. */
  push(t: number, face: Face | null): void {
    if (this.count && t <= this.newest) return;
    const row = this.count % this.rows;
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
    set(BASELINE, known(face?.from_baseline.valence));
    set(BASELINE + 1, known(face?.from_baseline.arousal));
    this.count++;
  }

  /** Adds a row of which valence and arousal alone are known. */
  pushPair(t: number, valence: number, arousal: number): void {
    if (this.count && t <= this.newest) return;
    const row = this.count % this.rows;
    for (const column of this.columns) column[row] = NaN;
    this.t[row] = t;
    (this.columns[VALENCE] as Float32Array)[row] = valence;
    (this.columns[AROUSAL] as Float32Array)[row] = arousal;
    this.count++;
  }

  /** Adds rows of the service's history, whose values are named by `names`; what it does not give stays unknown. */
  append(names: readonly string[], rows: readonly (readonly (number | null)[])[]): void {
    const places = names.map((name) => SERVED[name]);
    for (const values of rows) {
      const row = this.count % this.rows;
      for (const column of this.columns) column[row] = NaN;
      values.forEach((value, n) => {
        const column = places[n];
        if (names[n] === "t") this.t[row] = value ?? NaN;
        else if (column !== undefined) (this.columns[column] as Float32Array)[row] = value ?? NaN;
      });
      this.count++;
    }
  }

  /** The first kept row whose time is `t` or later; `count` where there is none. */
  rowAt(t: number): number {
    let low = this.first;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time(middle) < t) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Adds row `row` of another history. */
  copy(other: History, row: number): void {
    const here = this.count % this.rows;
    this.t[here] = other.time(row);
    this.columns.forEach((column, n) => (column[here] = other.at(n, row)));
    this.count++;
  }

  at(column: number, row: number): number {
    return (this.columns[column] as Float32Array)[row % this.rows] as number;
  }
}

/** What a row of `history` says of its face, in the form of an event's; null where no face was read. */
export function faceAt(history: History, row: number): Face | null {
  const value = (column: number): number | null => {
    const x = history.at(column, row);
    return Number.isNaN(x) ? null : x;
  };
  const track = value(TRACK);
  if (track === null) return null;
  const pair = (column: number): Pair => ({ valence: value(column), arousal: value(column + 1) });
  const chances = EXPRESSIONS.map((_, e) => history.at(EXPRESSION + e, row));
  const best = chances.reduce((most, x, e) => (x > (chances[most] as number) ? e : most), 0);
  const probabilities = Object.fromEntries(EXPRESSIONS.map((name, e) => [name, chances[e]])) as Record<ExpressionName, number>;
  return {
    track,
    status: "ok",
    reasons: [],
    age_ms: 0,
    box: [0, 0, 0, 0],
    confidence: 1,
    ...pair(VALENCE),
    raw: pair(RAW),
    std: pair(STD),
    from_baseline: pair(BASELINE),
    expression: Number.isNaN(chances[0]) ? null : { label: EXPRESSIONS[best] as ExpressionName, probabilities },
    head_pose: { pitch: NaN, yaw: NaN, roll: NaN },
    aus: Object.fromEntries(UNITS.flatMap((name, u) => (value(UNIT + u) === null ? [] : [[name, value(UNIT + u) as number]]))),
    windows: { "1s": null, "6s": null, "12s": null },
  };
}

const MOST_TRACKS = 8;

/** NaN without a face that is read. */
function mean(faces: readonly Face[], name: "valence" | "arousal"): number {
  let sum = 0;
  let count = 0;
  for (const face of faces) {
    const value = face[name];
    if (value === null || face.status === "held") continue;
    sum += value;
    count++;
  }
  return count ? sum / count : NaN;
}

/** The histories of a session's faces, and of the one that is followed; the buffers of the longest gone are reused. */
export class Histories {
  followed = new History();
  /** The followed face over the whole session, one row a second. */
  session = new History(SESSION_ROWS);
  /** Means of valence and arousal over all faces that are read. */
  readonly group = new History();
  private readonly tracks = new Map<number, History>();

  of(track: number): History | undefined {
    return this.tracks.get(track);
  }

  push(t: number, faces: readonly Face[], followed: Face | null): void {
    this.followed.push(t, followed);
    if (!(t < this.session.newest + SESSION_STEP)) this.session.push(t, followed);
    for (const face of faces) this.claim(face.track).push(t, face);
    this.group.pushPair(t, mean(faces, "valence"), mean(faces, "arousal"));
  }

  /** Puts what the service says of the session's past before what came since. */
  past(names: readonly string[], rows: readonly (readonly (number | null)[])[]): void {
    const begins = this.session.count ? this.session.oldest : Infinity;
    const at = names.indexOf("t");
    const own = this.session.count;
    if (own > LATEST_PAST) return; // it came too late to be put before
    const before = new History(SESSION_ROWS);
    before.append(names, rows.filter((row) => (row[at] as number) < begins));
    for (let row = this.session.first; row < own; row++) before.copy(this.session, row);
    this.session = before;
    this.leadIn();
  }

  /** Puts the last rows of the session before those of every event, so that the charts do not begin empty. */
  private leadIn(): void {
    const { followed: since, session } = this;
    if (!since.count || since.count > LATEST_LEAD) return;
    const whole = new History();
    const begins = session.rowAt(since.oldest);
    for (let row = Math.max(session.first, begins - LEAD); row < begins; row++) whole.copy(session, row);
    for (let row = since.first; row < since.count; row++) whole.copy(since, row);
    this.followed = whole;
  }

  clear(): void {
    this.followed.clear();
    this.session.clear();
    this.group.clear();
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
