// A drawn face whose parts are tinted by how much their action units move; units that the model does not give are named.

import { UNITS } from "./history";
import { say } from "./say";

const NAMESPACE = "http://www.w3.org/2000/svg";
const MIDDLE = 100; // the axis at which paired parts are mirrored

// What is always there: outline, brows, eyes, nose and mouth.
const FACE = [
  "M100 22 C58 22 38 56 40 104 C42 156 66 214 100 222 C134 214 158 156 160 104 C162 56 142 22 100 22 Z",
  "M50 91 Q66 80 88 89 M112 89 Q134 80 150 91",
  "M56 108 Q71 96 87 108 Q71 117 56 108 Z M113 108 Q129 96 144 108 Q129 117 113 108 Z",
  "M98 104 Q94 130 88 142 Q100 150 112 142",
  "M76 178 Q100 168 124 178 Q100 196 76 178 Z",
];

// Where each unit moves. Paired parts are given for one side.
const PARTS: Readonly<Record<string, { path: string; paired?: boolean; filled?: boolean }>> = {
  AU01: { path: "M76 82 Q84 74 92 80", paired: true },
  AU02: { path: "M46 84 Q56 71 68 77", paired: true },
  AU04: { path: "M94 84 L96 98", paired: true },
  AU05: { path: "M55 103 Q71 90 88 103", paired: true },
  AU06: { path: "M50 128 Q66 118 84 130 Q68 142 50 128 Z", paired: true, filled: true },
  AU07: { path: "M57 113 Q71 122 87 113", paired: true },
  AU09: { path: "M92 110 L88 124 M96 112 L93 126", paired: true },
  AU10: { path: "M84 150 Q79 158 78 168", paired: true },
  AU11: { path: "M80 146 Q74 152 73 160", paired: true },
  AU12: { path: "M75 176 Q66 170 64 158", paired: true },
  AU14: { path: "M66 176 a4 4 0 1 0 0.1 0 Z", paired: true, filled: true },
  AU15: { path: "M75 182 Q67 188 66 198", paired: true },
  AU17: { path: "M86 210 Q100 199 114 210" },
  AU20: { path: "M73 179 L54 181", paired: true },
  AU23: { path: "M82 180 L118 180" },
  AU24: { path: "M84 175 L116 175 M84 186 L116 186" },
  AU25: { path: "M84 180 Q100 174 116 180 Q100 190 84 180 Z", filled: true },
  AU26: { path: "M70 212 Q100 238 130 212" },
  AU28: { path: "M88 183 Q100 179 112 183 Q100 188 88 183 Z", filled: true },
  AU45: { path: "M57 108 Q71 97 86 108 Q71 116 57 108 Z", paired: true, filled: true },
};

export class FaceMap {
  private readonly parts = new Map<string, SVGPathElement[]>();
  private readonly shown = new Map<string, number>();

  /** `svg`: an empty element; `missing`: where the units that are not given are named. */
  constructor(
    svg: SVGElement,
    private readonly missing: HTMLElement,
  ) {
    svg.setAttribute("viewBox", "30 14 140 226");
    for (const path of FACE) svg.append(shape(path, "outline"));
    for (const name of UNITS) {
      const part = PARTS[name];
      if (!part) continue;
      const paths = [shape(part.path, part.filled ? "part filled" : "part")];
      if (part.paired) {
        const other = shape(part.path, part.filled ? "part filled" : "part");
        other.setAttribute("transform", `translate(${2 * MIDDLE} 0) scale(-1 1)`);
        paths.push(other);
      }
      svg.append(...paths);
      this.parts.set(name, paths);
    }
  }

  /** `value` of a unit from 0 to 1, NaN where it is not known. */
  draw(value: (unit: string) => number): void {
    for (const [name, paths] of this.parts) {
      const x = value(name);
      const strength = Number.isNaN(x) ? 0 : Math.round(Math.min(1, x) * 50) / 50;
      if (this.shown.get(name) === strength) continue;
      this.shown.set(name, strength);
      for (const path of paths) path.style.opacity = String(strength);
    }
  }

  /** `given`: units that the model gives. */
  name(given: readonly string[]): void {
    const absent = UNITS.filter((name) => !given.includes(name));
    this.missing.textContent = given.length && absent.length ? say("Not given by this model: {units}", { units: absent.join(", ") }) : "";
  }
}

function shape(path: string, name: string): SVGPathElement {
  const element = document.createElementNS(NAMESPACE, "path");
  element.setAttribute("d", path);
  element.setAttribute("class", name);
  return element;
}
