// The whole session in one strip: valence and arousal, where no face was read, and the stretch that the charts show.

import { Surface, trace } from "./canvas";
import { AROUSAL, type History, VALENCE } from "./history";
import { drawNotes, type Note } from "./notes";
import { say } from "./say";
import { clock, PLOT_LEFT, PLOT_RIGHT, type Range } from "./series";
import { colours, rem } from "./theme";

const SHORTEST = 10; // s, that a brush marks at least
const LEAST = 30; // s, that the strip covers at least

export class Overview {
  private readonly surface: Surface;
  private redrawLast = (): void => undefined;
  private whole: Range = { from: 0, to: LEAST };
  private begun: number | null = null; // second at which the brush began
  private seen = ""; // what the last drawing showed

  /** `brushed`: the user marked a range of seconds. */
  constructor(
    canvas: HTMLCanvasElement,
    private readonly brushed: (range: Range) => void,
  ) {
    this.surface = new Surface(canvas, () => this.redrawLast());
    canvas.addEventListener("pointerdown", (down) => {
      canvas.setPointerCapture(down.pointerId);
      this.begun = this.second(down.offsetX);
    });
    canvas.addEventListener("pointermove", (move) => this.mark(move.offsetX));
    canvas.addEventListener("pointerup", (up) => {
      this.mark(up.offsetX);
      this.begun = null;
    });
  }

  /** Draws `history`, in which `shown` is what the charts show. */
  draw(history: History, shown: Range, notes: readonly Note[]): void {
    this.redrawLast = () => this.paint(history, shown, notes);
    const pixels = this.plot.width / Math.max(LEAST, history.newest - history.oldest); // of a second
    const edges = [shown.from, shown.to].map((t) => Math.round(t * pixels));
    const seen = [history.count, history.oldest, ...edges, notes.length, notes.at(-1)?.t].join();
    if (seen === this.seen) return; // a second of a long session is less than a pixel
    this.seen = seen;
    this.redrawLast();
  }

  /** After a change of theme. */
  redraw(): void {
    this.redrawLast();
  }

  private get plot(): { left: number; width: number } {
    const left = PLOT_LEFT * rem;
    return { left, width: Math.max(1, this.surface.width - left - PLOT_RIGHT * rem) };
  }

  private second(x: number): number {
    const { left, width } = this.plot;
    const share = Math.max(0, Math.min(1, (x - left) / width));
    return this.whole.from + share * (this.whole.to - this.whole.from);
  }

  private mark(x: number): void {
    if (this.begun === null) return;
    const [from, to] = [this.begun, this.second(x)].sort((a, b) => a - b) as [number, number];
    const missing = Math.max(0, SHORTEST - (to - from)) / 2;
    this.brushed({ from: from - missing, to: to + missing });
  }

  private paint(history: History, shown: Range, notes: readonly Note[]): void {
    const { context, width, height } = this.surface;
    context.clearRect(0, 0, width, height);
    if (!width) return;
    const newest = history.count ? history.newest : 0;
    this.whole = { from: Math.min(history.count ? history.oldest : 0, newest - LEAST), to: newest };
    const { left, width: wide } = this.plot;
    const x = (t: number): number => left + ((t - this.whole.from) / (this.whole.to - this.whole.from)) * wide;
    const high = height - 1.1 * rem;
    const y = (value: number): number => high / 2 - (value * (high - 2)) / 2;
    context.fillStyle = colours.line;
    context.globalAlpha = 0.5;
    context.fillRect(left, 0, wide, high);
    context.globalAlpha = 1;
    const stride = Math.max(1, Math.floor((history.count - history.first) / (2 * wide)));
    for (const [column, colour] of [
      [AROUSAL, colours.arousal],
      [VALENCE, colours.valence],
    ] as const) {
      context.strokeStyle = colour;
      context.lineWidth = 0.09 * rem;
      trace(context, history, column, { first: history.first, last: history.count, stride }, x, y);
    }
    drawNotes(context, notes, this.whole, x, { top: 0, height: high }, false);
    const [from, to] = [Math.max(left, x(shown.from)), Math.min(left + wide, x(shown.to))];
    context.fillStyle = colours.ink;
    context.globalAlpha = 0.1;
    context.fillRect(from, 0, Math.max(2, to - from), high);
    context.globalAlpha = 1;
    context.strokeStyle = colours.ink;
    context.lineWidth = 1;
    context.strokeRect(from + 0.5, 0.5, Math.max(2, to - from) - 1, high - 1);
    context.fillStyle = colours.soft;
    context.font = this.surface.font(0.72);
    context.textBaseline = "bottom";
    context.textAlign = "left";
    context.fillText(clock(Math.max(0, Math.floor(this.whole.from))), left, height);
    context.textAlign = "right";
    context.fillText(clock(Math.max(0, Math.floor(this.whole.to))), left + wide, height);
    context.textBaseline = "middle";
    context.fillText(say("all"), left - 0.35 * rem, high / 2);
  }
}
