// Markers and alerts of a session on its clock, and how they look on everything that is drawn over time.

import { colours, rem } from "./theme";

const MOST = 2000; // as many as the service keeps

export interface Note {
  /** Seconds of the time shown. */
  t: number;
  label: string;
  kind: "marker" | "raised" | "cleared";
}

export class Notes {
  /** In the order of time. */
  readonly all: Note[] = [];

  add(note: Note): void {
    if (this.all.some((other) => other.t === note.t && other.label === note.label && other.kind === note.kind)) return;
    let at = this.all.length;
    while (at > 0 && (this.all[at - 1] as Note).t > note.t) at--;
    this.all.splice(at, 0, note);
    if (this.all.length > MOST) this.all.shift();
  }

  clear(): void {
    this.all.length = 0;
  }
}

/** Draws those of `notes` that lie between `from` and `to`, a dashed line each, with what they are called if `named`. */
export function drawNotes(
  context: CanvasRenderingContext2D,
  notes: readonly Note[],
  range: { from: number; to: number },
  x: (t: number) => number,
  box: { top: number; height: number },
  named: boolean,
  ratio = 1,
): void {
  const unit = rem * ratio;
  context.save();
  context.font = `600 ${Math.round(0.75 * unit)}px system-ui, sans-serif`;
  context.textBaseline = "top";
  context.textAlign = "left";
  let free = -Infinity; // from where on there is room for another name
  for (const note of notes) {
    if (note.t < range.from || note.t > range.to) continue;
    const at = x(note.t);
    context.strokeStyle = context.fillStyle = note.kind === "raised" ? colours.bad : note.kind === "cleared" ? colours.good : colours.ink;
    context.lineWidth = ratio;
    context.setLineDash(note.kind === "marker" ? [] : [0.25 * unit, 0.2 * unit]);
    context.beginPath();
    context.moveTo(at, box.top);
    context.lineTo(at, box.top + box.height);
    context.stroke();
    if (!named || at < free) continue;
    const text = note.label.length > 24 ? `${note.label.slice(0, 23)}…` : note.label;
    context.setLineDash([]);
    context.strokeStyle = colours.panel; // keeps the name apart from the lines behind it
    context.lineWidth = 3 * ratio;
    context.strokeText(text, at + 0.25 * unit, box.top + 0.1 * unit);
    context.fillText(text, at + 0.25 * unit, box.top + 0.1 * unit);
    free = at + context.measureText(text).width + 0.6 * unit;
  }
  context.restore();
}
