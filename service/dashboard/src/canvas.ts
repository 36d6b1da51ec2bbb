// A canvas as sharp as the screen.

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
