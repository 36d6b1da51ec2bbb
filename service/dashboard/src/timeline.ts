// Which stretch of time is on the screen: the newest seconds while live, a fixed stretch while paused.

import type { Range } from "./series";

const SPANS = [10, 30, 60, 120, 300]; // s
const SHORTEST = 1; // s, that a paused stretch can be zoomed to

export class Timeline {
  paused: Range | null = null;
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

  pause(range: Range | null): void {
    this.paused = range;
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
    this.paused = { from: this.paused.from + by, to: this.paused.to + by };
    this.changed();
  }
}
