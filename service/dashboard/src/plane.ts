// The valence-arousal plane: where each face is now, how sure that is, and the way it came.

import { Surface } from "./canvas";
import type { Face } from "./event";
import { AROUSAL, type Histories, type History, VALENCE } from "./history";
import { shortName } from "./names";
import { say } from "./say";
import { colours, rem, trackColour } from "./theme";

const TRAIL = 6; // s
const SHADES = 8; // of the fading trail
const POINTS = 15; // of the trail, a second

export class Plane {
  private readonly surface: Surface;
  private redrawLast = (): void => undefined;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.surface = new Surface(canvas, () => this.redraw());
  }

  redraw(): void {
    this.axes();
    if (this.radius > 0) this.redrawLast(); // while it is laid out the canvas can be smaller than its margins
  }

  /** `faces` at `t` seconds, the chosen one last and strongest. */
  draw(t: number, faces: readonly Face[], histories: Histories, chosen: number | null): void {
    this.redrawLast = () => {
      for (const face of faces) if (face.track !== chosen) this.face(t, face, histories, 0.55);
      for (const face of faces) if (face.track === chosen) this.face(t, face, histories, 1);
    };
    this.redraw();
  }

  clear(): void {
    this.redrawLast = () => undefined;
    this.redraw();
  }

  /** Says to those who cannot see it where the chosen face is. */
  describe(sentence: string): void {
    this.canvas.setAttribute("aria-label", sentence);
  }

  private get radius(): number {
    return Math.min(this.surface.width, this.surface.height) / 2 - 1.5 * rem;
  }

  private x(valence: number): number {
    return this.surface.width / 2 + valence * this.radius;
  }

  private y(arousal: number): number {
    return this.surface.height / 2 - arousal * this.radius;
  }

  private axes(): void {
    const { context, width, height } = this.surface;
    context.clearRect(0, 0, width, height);
    const r = this.radius;
    if (r <= 0) return;
    const [cx, cy] = [width / 2, height / 2];
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.setLineDash([]);
    context.strokeRect(Math.round(cx - r) + 0.5, Math.round(cy - r) + 0.5, Math.round(2 * r), Math.round(2 * r));
    context.beginPath();
    context.moveTo(Math.round(cx) + 0.5, cy - r);
    context.lineTo(Math.round(cx) + 0.5, cy + r);
    context.moveTo(cx - r, Math.round(cy) + 0.5);
    context.lineTo(cx + r, Math.round(cy) + 0.5);
    context.stroke();
    context.setLineDash([2, 4]);
    context.beginPath();
    for (const half of [-0.5, 0.5]) {
      context.moveTo(this.x(half), cy - r);
      context.lineTo(this.x(half), cy + r);
      context.moveTo(cx - r, this.y(half));
      context.lineTo(cx + r, this.y(half));
    }
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = colours.soft;
    context.font = this.surface.font(0.8);
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(say("activated"), cx, cy - r - 0.75 * rem);
    context.fillText(say("calm"), cx, cy + r + 0.8 * rem);
    for (const [side, word] of [
      [-1, "unpleasant"],
      [1, "pleasant"],
    ] as const) {
      context.save();
      context.translate(cx + side * (r + 0.75 * rem), cy);
      context.rotate(-Math.PI / 2);
      context.fillText(say(word), 0, 0);
      context.restore();
    }
  }

  private face(t: number, face: Face, histories: Histories, strength: number): void {
    const { context } = this.surface;
    const history = histories.of(face.track);
    const colour = trackColour(face.track);
    context.lineCap = context.lineJoin = "round";
    if (history) this.trail(t, history, colour, strength);
    if (face.valence === null || face.arousal === null) return;
    const [x, y] = [this.x(face.valence), this.y(face.arousal)];
    if (face.std.valence !== null && face.std.arousal !== null && strength === 1) {
      context.save();
      context.globalAlpha = 0.12;
      context.fillStyle = colour;
      context.beginPath();
      context.rect(this.x(-1), this.y(1), this.x(1) - this.x(-1), this.y(-1) - this.y(1)); // there is nothing beyond
      context.clip();
      context.beginPath();
      context.ellipse(x, y, face.std.valence * this.radius, face.std.arousal * this.radius, 0, 0, 2 * Math.PI);
      context.fill();
      context.restore();
    }
    context.globalAlpha = face.status === "held" ? 0.4 * strength : strength;
    context.fillStyle = colour;
    context.strokeStyle = colours.panel;
    context.lineWidth = 0.14 * rem;
    context.beginPath();
    context.arc(x, y, (strength === 1 ? 0.48 : 0.36) * rem, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    context.fillStyle = colours.ink;
    context.font = this.surface.font(0.8, 600);
    context.textAlign = x > this.surface.width / 2 + 0.8 * this.radius ? "right" : "left";
    context.fillText(shortName(face.track), x + (context.textAlign === "right" ? -0.75 : 0.75) * rem, y - 0.55 * rem);
    context.globalAlpha = 1;
  }

  private trail(t: number, history: History, colour: string, strength: number): void {
    const { context } = this.surface;
    const start = history.rowAt(t - TRAIL);
    const rows = history.count - start;
    if (rows < 2) return;
    const stride = Math.max(1, Math.round(rows / (TRAIL * POINTS)));
    context.strokeStyle = colour;
    context.lineWidth = (strength === 1 ? 0.16 : 0.1) * rem;
    for (let shade = 0; shade < SHADES; shade++) {
      const from = history.rowAt(t - TRAIL * (1 - shade / SHADES));
      const to = shade === SHADES - 1 ? history.count : history.rowAt(t - TRAIL * (1 - (shade + 1) / SHADES));
      context.globalAlpha = strength * 0.75 * ((shade + 1) / SHADES) ** 1.6;
      context.beginPath();
      let drawing = false;
      // One point of the shade before, so that there is no seam.
      for (let row = Math.max(start, from - (from % stride) - stride); row < to + stride; row += stride) {
        const last = Math.min(row, history.count - 1);
        const valence = history.at(VALENCE, last);
        const arousal = history.at(AROUSAL, last);
        if (Number.isNaN(valence) || Number.isNaN(arousal)) drawing = false;
        else if (drawing) context.lineTo(this.x(valence), this.y(arousal));
        else {
          context.moveTo(this.x(valence), this.y(arousal));
          drawing = true;
        }
      }
      context.stroke();
    }
    context.globalAlpha = 1;
  }
}
