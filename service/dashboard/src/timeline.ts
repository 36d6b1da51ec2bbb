// Which stretch of time is on the screen, and which moment of it the figures are about: the newest seconds and the newest
// moment while live, a fixed stretch and one chosen moment while paused.

import type { Range } from "./series";

const SPANS = [10, 30, 60, 120, 300, 900, 3600]; // s
const SHORTEST = 1; // s, that a paused stretch can be zoomed to

export class Timeline {
  paused: Range | null = null;
  /** The second that plane, bars and units show; null while live. */
  cursor: number | null = null;
  private span = 1; // index

  constructor(private readonly changed: () => void) {}

  /** What to draw when the newest moment is `newest`. */
  range(newest: number): Range {
    if (this.paused) return this.paused;
    const to = Number.isFinite(newest) ? newest : 0;
    return { from: to - (SPANS[this.span] as number), to };
  }

  get label(): string {
    const seconds = this.paused ? this.paused.to - this.paused.from : (SPANS[this.span] as number);
    return seconds >= 60 ? `${Number((seconds / 60).toFixed(1))} min` : `${Number(seconds.toFixed(1))} s`;
  }

  /** Holds `range`, or goes back to live with null; the cursor stands at `cursor`, or at the end of the range. */
  pause(range: Range | null, cursor?: number): void {
    this.paused = range;
    this.cursor = range && Math.min(range.to, Math.max(range.from, cursor ?? range.to));
    this.changed();
  }

  /** Moves the cursor of a paused stretch to second `t`; the stretch follows where the cursor would leave it. */
  point(t: number): void {
    if (!this.paused) return;
    const { from, to } = this.paused;
    const by = t < from ? t - from : t > to ? t - to : 0;
    this.paused = { from: from + by, to: to + by };
    this.cursor = t;
    this.changed();
  }

  /** `steps` > 0: a longer span. */
  zoom(steps: 1 | -1): void {
    if (this.paused) {
      const { from, to } = this.paused;
      const length = Math.max(SHORTEST, Math.min(SPANS.at(-1) as number, (to - from) * (steps > 0 ? 2 : 0.5)));
      const middle = (from + to) / 2;
      this.paused = { from: middle - length / 2, to: middle + length / 2 };
    } else {
      this.span = Math.max(0, Math.min(SPANS.length - 1, this.span + steps));
    }
    this.changed();
  }

  /** Moves a paused stretch by a share of its length. */
  move(share: number): void {
    if (!this.paused) return;
    const by = share * (this.paused.to - this.paused.from);
    this.pause({ from: this.paused.from + by, to: this.paused.to + by }, (this.cursor ?? this.paused.to) + by);
  }
}
