// A canvas as sharp as the screen, and the line of one column of a history on it.

import type { History } from "./history";
import { rem } from "./theme";

export class Surface {
  readonly context: CanvasRenderingContext2D;
  /** CSS pixels. */
  width = 0;
  height = 0;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly resized: () => void,
  ) {
    this.context = canvas.getContext("2d") as CanvasRenderingContext2D;
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  font(size: number, weight = 400): string {
    return `${weight} ${size * rem}px system-ui, sans-serif`;
  }

  private fit(): void {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = devicePixelRatio;
    this.width = width;
    this.height = height;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.resized();
  }
}

/** Strokes `column` of `history` over the rows of `part`, broken where the value is unknown. */
export function trace(
  context: CanvasRenderingContext2D,
  history: History,
  column: number,
  part: { first: number; last: number; stride: number },
  x: (t: number) => number,
  y: (value: number) => number,
): void {
  context.beginPath();
  let drawing = false;
  for (let row = part.first; row < part.last; row += part.stride) {
    const value = history.at(column, row);
    if (Number.isNaN(value)) drawing = false;
    else if (drawing) context.lineTo(x(history.time(row)), y(value));
    else {
      context.moveTo(x(history.time(row)), y(value));
      drawing = true;
    }
  }
  context.stroke();
}
