// One quantity of every face over time, each in its colour, and the mean of the group in ink.

import { Surface, trace } from "./canvas";
import type { Histories, History } from "./history";
import { shortName } from "./names";
import { drawNotes, type Note } from "./notes";
import { clock, type Range } from "./series";
import { colours, rem, trackColour } from "./theme";

const LEFT = 2; // rem, for the scale
const RIGHT = 0.5;
const TOP = 0.55; // room for half a figure of the scale, above and below
const BOTTOM = 1.4;

export class GroupChart {
  private readonly surface: Surface;
  private redrawLast = (): void => undefined;

  /** Draws `column` of the histories. */
  constructor(
    canvas: HTMLCanvasElement,
    private readonly column: number,
  ) {
    this.surface = new Surface(canvas, () => this.redraw());
  }

  redraw(): void {
    this.redrawLast();
  }

  draw(histories: Histories, tracks: readonly number[], range: Range, cursor: number | null, notes: readonly Note[]): void {
    this.redrawLast = () => this.paint(histories, tracks, range, cursor, notes);
    this.redrawLast();
  }

  private paint(histories: Histories, tracks: readonly number[], range: Range, cursor: number | null, notes: readonly Note[]): void {
    const { context, width, height } = this.surface;
    context.clearRect(0, 0, width, height);
    if (!width || !height) return;
    const left = LEFT * rem;
    const wide = Math.max(1, width - left - RIGHT * rem);
    const high = height - BOTTOM * rem;
    const x = (t: number): number => left + ((t - range.from) / (range.to - range.from)) * wide;
    const y = (value: number): number => TOP * rem + ((1 - value) / 2) * (high - 2 * TOP * rem);
    this.scale(range, left, wide, height, x, y);
    context.save();
    context.beginPath();
    context.rect(left, 0, wide, high);
    context.clip();
    context.lineJoin = "round";
    for (const track of tracks) {
      const history = histories.of(track);
      if (!history) continue;
      context.strokeStyle = trackColour(track);
      context.lineWidth = 0.1 * rem;
      this.line(history, range, wide, x, y);
    }
    if (tracks.length > 1) {
      context.strokeStyle = colours.ink;
      context.lineWidth = 0.17 * rem;
      context.setLineDash([0.35 * rem, 0.2 * rem]);
      this.line(histories.group, range, wide, x, y);
      context.setLineDash([]);
    }
    drawNotes(context, notes, range, x, { top: 0, height: high }, false);
    if (cursor !== null) {
      context.fillStyle = colours.ink;
      context.fillRect(x(cursor) - 0.75, 0, 1.5, high);
    }
    context.restore();
    this.names(histories, tracks, range, left + wide, y);
  }

  private line(history: History, range: Range, wide: number, x: (t: number) => number, y: (value: number) => number): void {
    const first = Math.max(history.first, history.rowAt(range.from) - 1);
    const last = Math.min(history.count, history.rowAt(range.to) + 1);
    const stride = Math.max(1, Math.ceil((last - first) / (2 * wide)));
    trace(this.surface.context, history, this.column, { first, last, stride }, x, y);
  }

  private scale(range: Range, left: number, wide: number, height: number, x: (t: number) => number, y: (value: number) => number): void {
    const { context } = this.surface;
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.fillStyle = colours.soft;
    context.font = this.surface.font(0.78);
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.beginPath();
    for (const [value, text] of [
      [1, "+1"],
      [0, "0"],
      [-1, "−1"],
    ] as const) {
      context.moveTo(left, Math.round(y(value)) + 0.5);
      context.lineTo(left + wide, Math.round(y(value)) + 0.5);
      context.fillText(text, left - 0.35 * rem, y(value));
    }
    context.stroke();
    context.textBaseline = "bottom";
    context.textAlign = "left";
    if (range.from >= 0) context.fillText(clock(Math.floor(range.from)), x(range.from), height);
    context.textAlign = "right";
    if (range.to >= 0) context.fillText(clock(Math.floor(range.to)), x(range.to), height);
  }

  /** Says at the right edge whose line ends there. */
  private names(histories: Histories, tracks: readonly number[], range: Range, right: number, y: (value: number) => number): void {
    const { context } = this.surface;
    context.font = this.surface.font(0.78, 600);
    context.textAlign = "right";
    context.textBaseline = "bottom";
    let edge = right - 0.2 * rem; // each name begins where the one before left room, as their lines may lie on each other
    for (const track of tracks) {
      const history = histories.of(track);
      const row = history ? Math.min(history.rowAt(range.to), history.count - 1) : -1;
      if (!history || row < history.first) continue;
      const value = history.at(this.column, row);
      if (Number.isNaN(value) || history.time(row) < range.to - 1) continue;
      context.fillStyle = trackColour(track);
      context.fillText(shortName(track), edge, Math.max(0.9 * rem, y(value) - 0.1 * rem));
      edge -= context.measureText(shortName(track)).width + 0.4 * rem;
    }
  }
}
