// How well the face can be read: a row each for light, size, turn, cover and lost pictures, and what ± means now.

import type { Face } from "./event";
import { write } from "./page";
import { say, type Text } from "./say";
import { signed } from "./words";

type Grade = "good" | "wait" | "bad";

interface Row {
  row: HTMLElement;
  words: HTMLElement;
  text: string;
}

// From which value on a row is not good, and from which it is bad; measured on this page's own clips.
const DIM = [0.3, 0.18] as const; // mean luma; the service refuses faces that are darker yet
const BRIGHT = [0.85, 0.94] as const;
const SMALL = [80, 50] as const; // px of width; the smallest that is read is about 50
const TURNED = [30, 45] as const; // degrees of yaw; beyond 50 the service abstains
const COVERED = [0.3, 0.6] as const;
const LOST = [0.1, 0.4] as const; // share of pictures
const NAMES: readonly Text[] = ["Light", "Size", "Turned", "Covered", "Dropped"];
const MARKS: Readonly<Record<Grade, string>> = { good: "●", wait: "◐", bad: "■" };

export class QualityRail {
  private readonly rows: Row[];

  constructor(list: HTMLElement) {
    this.rows = NAMES.map((name) => {
      const row = document.createElement("div");
      const term = document.createElement("dt");
      term.textContent = say(name);
      const words = document.createElement("dd");
      row.append(term, words);
      list.append(row);
      return { row, words, text: "" };
    });
  }

  /** `light`: mean luma of the face, NaN where unknown; `lost`: share of pictures that were dropped lately. */
  show(face: Face | null, light: number, lost: number): void {
    const yaw = face?.head_pose ? Math.abs(face.head_pose.yaw) : NaN;
    const width = face ? face.box[2] : NaN;
    const cover = face?.occluded ?? NaN;
    this.put(0, light, Math.max(grade(-light, -DIM[0], -DIM[1]), grade(light, ...BRIGHT)), () =>
      light < DIM[0] ? say("dim, {per_cent} %", cent(light)) : say(light > BRIGHT[0] ? "glaring, {per_cent} %" : "{per_cent} %", cent(light)),
    );
    this.put(1, width, grade(-width, -SMALL[0], -SMALL[1]), () => say(width < SMALL[0] ? "{px} px, far away" : "{px} px", { px: Math.round(width) }));
    this.put(2, yaw, grade(yaw, ...TURNED), () => `${Math.round(yaw)}°`);
    this.put(3, cover, grade(cover, ...COVERED), () => say("{per_cent} %", cent(cover)));
    this.put(4, lost, grade(lost, ...LOST), () => say("{per_cent} %", cent(lost)));
  }

  private put(n: number, value: number, level: number, words: () => string): void {
    const row = this.rows[n] as Row;
    const known = !Number.isNaN(value);
    const mark = (["good", "wait", "bad"] as const)[level] as Grade;
    const text = known ? `${MARKS[mark]} ${words()}` : "–";
    if (text === row.text) return;
    row.text = text;
    row.words.textContent = text;
    row.row.dataset["grade"] = known ? mark : "none";
  }
}

function grade(value: number, doubtful: number, bad: number): number {
  return value > bad ? 2 : value > doubtful ? 1 : 0;
}

const cent = (share: number): { per_cent: number } => ({ per_cent: Math.round(100 * share) });

// Up to which standard deviation a value is how sure. That of the default model is 0.37 in the mean over faces it never saw.
const SURE: readonly (readonly [number, Text])[] = [
  [0.2, "sure"],
  [0.35, "fairly sure"],
  [0.5, "unsure"],
  [Infinity, "very unsure"],
];

/** "± 0.31, fairly sure"; empty where it is not known. */
export function spread(std: number | null | undefined): string {
  if (std === null || std === undefined || Number.isNaN(std)) return "";
  const [, word] = SURE.find(([limit]) => std < limit) as readonly [number, Text];
  return `± ${std.toFixed(2)}, ${say(word)}`;
}

/** Writes what ± says of the valence that is shown. */
export function explainSpread(place: HTMLElement, face: Face | null): void {
  const { valence = null } = face ?? {};
  const std = face?.std.valence ?? null;
  write(
    place,
    valence === null || std === null
      ? say("± is one standard deviation: about two thirds of people’s ratings lie within it.")
      : say("± is one standard deviation: about two thirds of people would rate this valence between {from} and {to}.", {
          from: signed(Math.max(-1, valence - std)),
          to: signed(Math.min(1, valence + std)),
        }),
  );
}
