// What the face did below the two charts and on their clock: the leading expression as a ribbon, pinned action units as
// lines, and all action units as a heat map.

import { Surface, trace } from "./canvas";
import type { ActionUnit } from "./event";
import { expressionColour } from "./expressions";
import { EXPRESSION, type History, UNIT, UNITS } from "./history";
import { EXPRESSIONS } from "./labels";
import { drawNotes, type Note } from "./notes";
import { say } from "./say";
import { PLOT_LEFT, PLOT_RIGHT, type Range } from "./series";
import { colours, rem } from "./theme";

const RIBBON = 1.1; // rem, its height
const TRACE = 3.2; // rem, height of the pinned lines, where there are any
const GAP = 0.35; // rem
const LEAST_LABEL = 0.75; // rem between two names of units
const HELD = 1.1; // s that a row stands for where the next one is further away, as in the service's history
const UNLIKELY = 0.25; // probability under which an expression's colour is faintest

export class Lanes {
  private readonly surface: Surface;
  private redrawLast = (): void => undefined;
  private pixels: ImageData | null = null;
  private cells = { sums: new Float32Array(0), counts: new Uint16Array(0), unread: new Uint8Array(0) }; // of the heat map
  private readonly buffer = document.createElement("canvas");

  /** `picked`: the user clicked a second; `unitNames`: action units that are drawn, from top to bottom. */
  constructor(
    canvas: HTMLCanvasElement,
    private readonly picked: (t: number) => void,
  ) {
    this.surface = new Surface(canvas, () => this.redrawLast());
    canvas.addEventListener("click", (click) => {
      const { left, width } = this.plot;
      const share = (click.offsetX - left) / width;
      if (share >= 0 && share <= 1) this.picked(this.range.from + share * (this.range.to - this.range.from));
    });
  }

  private range: Range = { from: 0, to: 1 };

  private get plot(): { left: number; width: number } {
    const left = PLOT_LEFT * rem;
    return { left, width: Math.max(1, this.surface.width - left - PLOT_RIGHT * rem) };
  }

  private x(t: number): number {
    const { left, width } = this.plot;
    return left + ((t - this.range.from) / (this.range.to - this.range.from)) * width;
  }

  /** Draws `range` of `history`; `pinned` of `units` as lines too; `cursor`: a second that is marked. */
  draw(history: History, range: Range, units: readonly ActionUnit[], pinned: ReadonlySet<ActionUnit>, cursor: number | null, notes: readonly Note[]): void {
    this.redrawLast = () => {
      this.paint(history, range, units, pinned, cursor);
      if (this.surface.width) drawNotes(this.surface.context, notes, range, (t) => this.x(t), { top: 0, height: this.surface.height }, false);
    };
    this.redrawLast();
  }

  private paint(history: History, range: Range, units: readonly ActionUnit[], pinned: ReadonlySet<ActionUnit>, cursor: number | null): void {
    this.range = range;
    const { context, height, width } = this.surface;
    context.clearRect(0, 0, width, height);
    if (!width || !height) return;
    const { left, width: wide } = this.plot;
    const x = (t: number): number => this.x(t);
    this.ribbon(history, range, x);
    let top = (RIBBON + GAP) * rem;
    if (pinned.size) {
      this.traces(history, range, x, top, [...pinned]);
      top += (TRACE + GAP) * rem;
    }
    this.heat(history, range, left, wide, top, height - top, units);
    if (cursor !== null && cursor >= range.from && cursor <= range.to) {
      context.fillStyle = colours.ink;
      context.fillRect(x(cursor) - 0.75, 0, 1.5, height);
    }
  }

  private label(text: string, top: number, size = 0.72): void {
    const { context } = this.surface;
    context.fillStyle = colours.soft;
    context.font = this.surface.font(size);
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(text, (PLOT_LEFT - 0.35) * rem, top);
  }

  private ribbon(history: History, range: Range, x: (t: number) => number): void {
    const { context } = this.surface;
    this.label(say("face"), (RIBBON * rem) / 2);
    const [first, last] = rows(history, range);
    let start = NaN;
    let leading = -1;
    let strength = 0;
    let count = 0;
    const flush = (end: number): void => {
      if (leading >= 0 && count) {
        context.globalAlpha = Math.max(0.25, Math.min(1, (strength / count - UNLIKELY) / (1 - UNLIKELY)));
        context.fillStyle = expressionColour(EXPRESSIONS[leading] as (typeof EXPRESSIONS)[number]);
        const from = Math.max(x(range.from), x(start));
        context.fillRect(from, 0, Math.max(1, Math.min(x(range.to), x(end)) - from), RIBBON * rem);
      }
      count = strength = 0;
    };
    for (let row = first; row < last; row++) {
      let best = -1;
      let most = 0;
      for (let e = 0; e < EXPRESSIONS.length; e++) {
        const value = history.at(EXPRESSION + e, row);
        if (value > most) [best, most] = [e, value];
      }
      const t = history.time(row);
      if (best !== leading) {
        flush(t);
        leading = best;
        start = t;
      }
      strength += most;
      count++;
    }
    if (last > first) flush(history.time(last - 1));
    context.globalAlpha = 1;
  }

  private traces(history: History, range: Range, x: (t: number) => number, top: number, pinned: readonly ActionUnit[]): void {
    const { context } = this.surface;
    const high = TRACE * rem;
    const y = (value: number): number => top + (1 - value) * high;
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.beginPath();
    for (const value of [0, 1]) {
      context.moveTo(x(range.from), Math.round(y(value)) + 0.5);
      context.lineTo(x(range.to), Math.round(y(value)) + 0.5);
    }
    context.stroke();
    const [first, last] = rows(history, range);
    const stride = Math.max(1, Math.ceil((last - first) / this.plot.width));
    pinned.forEach((name, n) => {
      const column = UNIT + UNITS.indexOf(name);
      context.strokeStyle = colours.tracks[n % colours.tracks.length] as string;
      context.lineWidth = 0.11 * rem;
      trace(context, history, column, { first, last, stride }, x, y);
      context.fillStyle = context.strokeStyle;
      context.font = this.surface.font(0.72, 600);
      context.textAlign = "right";
      context.textBaseline = "middle";
      context.fillText(name, (PLOT_LEFT - 0.35) * rem, top + (0.5 + n) * 0.95 * rem);
    });
  }

  private heat(history: History, range: Range, left: number, wide: number, top: number, high: number, units: readonly ActionUnit[]): void {
    if (!units.length || high < units.length) return;
    const { context } = this.surface;
    const columns = Math.max(1, Math.min(600, Math.round(wide)));
    const pixels = this.image(columns, units.length);
    const { sums, counts, unread } = this.cells;
    sums.fill(0);
    counts.fill(0);
    unread.fill(0);
    const [first, last] = rows(history, range);
    const span = range.to - range.from;
    const wanted = units.map((unit) => UNIT + UNITS.indexOf(unit));
    for (let row = first; row < last; row++) {
      const column = Math.floor(((history.time(row) - range.from) / span) * columns);
      if (column < 0 || column >= columns) continue;
      if (Number.isNaN(history.at(wanted[0] as number, row))) {
        unread[column] = 1;
        continue;
      }
      counts[column] = (counts[column] as number) + 1;
      for (let u = 0; u < units.length; u++) {
        const at = u * columns + column;
        sums[at] = (sums[at] as number) + history.at(wanted[u] as number, row);
      }
    }
    const [r, g, b] = rgb(colours.ink);
    const hold = Math.max(1, Math.ceil((columns * HELD) / span)); // columns that one row may fill
    for (let u = 0; u < units.length; u++) {
      let value = NaN;
      let age = 0;
      for (let column = 0; column < columns; column++) {
        const n = counts[column] as number;
        if (n) [value, age] = [(sums[u * columns + column] as number) / n, 0];
        else if (unread[column] || ++age > hold) value = NaN;
        const at = 4 * (u * columns + column);
        pixels.data[at] = r;
        pixels.data[at + 1] = g;
        pixels.data[at + 2] = b;
        pixels.data[at + 3] = Number.isNaN(value) ? 0 : Math.round(8 + 247 * Math.min(1, value) ** 1.5);
      }
    }
    const target = this.buffer.getContext("2d") as CanvasRenderingContext2D;
    target.putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.buffer, 0, 0, columns, units.length, left, top, wide, high);
    const each = high / units.length;
    const step = Math.ceil((LEAST_LABEL * rem) / each); // every second or third name where there is no room for all
    for (let u = 0; u < units.length; u += step) this.label(units[u] as string, top + (u + 0.5) * each, 0.68);
  }

  private image(width: number, height: number): ImageData {
    if (!this.pixels || this.pixels.width !== width || this.pixels.height !== height) {
      this.pixels = new ImageData(width, height);
      this.cells = { sums: new Float32Array(width * height), counts: new Uint16Array(width), unread: new Uint8Array(width) };
      this.buffer.width = width;
      this.buffer.height = height;
    }
    return this.pixels;
  }
}

/** First and last + 1 row of `range`. */
function rows(history: History, range: Range): [number, number] {
  return [Math.max(history.first, history.rowAt(range.from)), Math.min(history.count, history.rowAt(range.to) + 1)];
}

function rgb(hex: string): [number, number, number] {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
