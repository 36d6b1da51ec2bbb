// The live picture with what was found in it: boxes, track numbers, landmarks on demand.

import { Surface } from "./canvas";
import type { AffectEvent, Face } from "./event";
import { shortName } from "./names";
import type { Picture } from "./pictures";
import { say } from "./say";
import { rem, TRACK_COLOURS } from "./theme";

// On top of pictures the bright half of the palette stands out in either theme (Okabe and Ito 2008).
const BRIGHT = ["#56b4e9", "#f0b429", "#2fc79b", "#f092c4", "#f0e442", "#ff8552"];
const LONGEST_HELD = 300; // ms that a lost face keeps its box
const SHADE = "rgba(0, 0, 0, 0.55)";

export interface Shown {
  picture: Picture;
  mirrored: boolean;
  event: AffectEvent | null;
  chosen: number | null;
  landmarks: boolean;
}

/** Whether a picture was given back to the browser. */
const gone = ({ image }: Picture): boolean => image instanceof ImageBitmap && image.width === 0;

export class View {
  private readonly surface: Surface;
  private shown: Shown | null = null;
  private readonly held = document.createElement("canvas");

  constructor(canvas: HTMLCanvasElement) {
    this.surface = new Surface(canvas, () => this.redraw());
  }

  clear(): void {
    this.shown = null;
    const { context, width, height } = this.surface;
    context.clearRect(0, 0, width, height);
  }

  /** Keeps a copy of the picture that is shown: whoever gave it will use it again for another one. */
  hold(): void {
    if (!this.shown || gone(this.shown.picture)) return;
    const { picture } = this.shown;
    this.held.width = picture.width;
    this.held.height = picture.height;
    this.held.getContext("2d")?.drawImage(picture.image, 0, 0, picture.width, picture.height);
    this.shown = { ...this.shown, picture: { ...picture, image: this.held } };
  }

  redraw(): void {
    if (this.shown) this.draw(this.shown);
  }

  draw(shown: Shown): void {
    this.shown = shown;
    const { context, width, height } = this.surface;
    const { picture, mirrored, event } = shown;
    if (!width || !picture.width || gone(picture)) return;
    context.clearRect(0, 0, width, height);
    const scale = Math.min(width / picture.width, height / picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    const [left, top] = [(width - w) / 2, (height - h) / 2];
    if (mirrored) {
      context.save();
      context.translate(width, 0);
      context.scale(-1, 1);
    }
    context.drawImage(picture.image, left, top, w, h);
    if (mirrored) context.restore();
    if (!event?.image_size) return;
    const [unitX, unitY] = [w / event.image_size[0], h / event.image_size[1]];
    const toX = mirrored ? (x: number) => left + w - x * unitX : (x: number) => left + x * unitX;
    const toY = (y: number): number => top + y * unitY;
    for (const face of event.faces) this.face(face, shown, toX, toY);
  }

  private face(face: Face, shown: Shown, toX: (x: number) => number, toY: (y: number) => number): void {
    const { context } = this.surface;
    const [x, y, wide, high] = face.box;
    const [x0, x1] = [toX(x), toX(x + wide)].sort((a, b) => a - b) as [number, number];
    const [y0, y1] = [toY(y), toY(y + high)];
    const colour = BRIGHT[face.track % TRACK_COLOURS] as string;
    const chosen = face.track === shown.chosen;
    const read = face.status === "ok" || face.status === "warming_up";
    if (face.status === "held" && face.age_ms > LONGEST_HELD) return; // whoever moved is no longer where the box was
    const thick = (chosen ? 0.16 : 0.1) * rem;
    if (read) {
      this.corners(x0, y0, x1, y1, SHADE, thick + 0.13 * rem);
      this.corners(x0, y0, x1, y1, colour, thick);
    } else {
      this.dashed(x0, y0, x1, y1, colour);
    }
    if (shown.landmarks && face.landmarks) {
      const size = 0.11 * rem;
      for (const [style, grow] of [
        [SHADE, 0.06 * rem],
        [colour, 0],
      ] as const) {
        context.fillStyle = style;
        for (const [px, py] of face.landmarks as [number, number][]) {
          context.fillRect(toX(px) - (size + grow) / 2, toY(py) - (size + grow) / 2, size + grow, size + grow);
        }
      }
    }
    const called = shortName(face.track);
    const name = read ? called : `${called}: ${say(face.status === "held" ? "lost" : "not read")}`;
    context.font = this.surface.font(0.85, 600);
    const pad = 0.36 * rem;
    const wideChip = context.measureText(name).width + 2 * pad;
    const chipY = Math.max(0, y0 - 1.75 * rem);
    context.fillStyle = colour;
    context.fillRect(x0, chipY, wideChip, 1.35 * rem);
    context.fillStyle = "#101214";
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillText(name, x0 + pad, chipY + 0.7 * rem);
    context.globalAlpha = 1;
  }

  /** The box of a face that is seen and not read. */
  private dashed(x0: number, y0: number, x1: number, y1: number, style: string): void {
    const { context } = this.surface;
    for (const [colour, width] of [
      [SHADE, 0.2],
      [style, 0.09],
    ] as const) {
      context.strokeStyle = colour;
      context.lineWidth = width * rem;
      context.setLineDash([0.4 * rem, 0.35 * rem]);
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    context.setLineDash([]);
  }

  private corners(x0: number, y0: number, x1: number, y1: number, style: string, thick: number): void {
    const { context } = this.surface;
    const arm = Math.min(1.3 * rem, (x1 - x0) / 4, (y1 - y0) / 4);
    context.strokeStyle = style;
    context.lineWidth = thick;
    context.lineCap = "round";
    context.beginPath();
    for (const [x, y, dx, dy] of [
      [x0, y0, arm, arm],
      [x1, y0, -arm, arm],
      [x1, y1, -arm, -arm],
      [x0, y1, arm, -arm],
    ] as const) {
      context.moveTo(x + dx, y);
      context.lineTo(x, y);
      context.lineTo(x, y + dy);
    }
    context.stroke();
  }
}
