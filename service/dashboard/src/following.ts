// Which face the figures are about: the one that was chosen, else the largest, for as long as it stays.

import type { Face } from "./event";
import { faceName } from "./names";
import { show, write } from "./page";
import { say } from "./say";

const MOST = 8; // buttons

export class Following {
  /** The user's choice; null follows by itself. */
  chosen: number | null = null;
  private current: number | null = null;
  private shownTracks = "";
  private readonly buttons: HTMLButtonElement[] = [];

  constructor(
    private readonly group: HTMLElement,
    changed: () => void,
  ) {
    for (let n = 0; n <= MOST; n++) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "small";
      button.hidden = n > 0;
      button.onclick = () => {
        this.chosen = button.value ? Number(button.value) : null;
        this.shownTracks = "";
        changed();
      };
      this.buttons.push(button);
    }
    const [auto] = this.buttons as [HTMLButtonElement];
    auto.textContent = say("Auto");
    auto.setAttribute("aria-label", say("Auto: follow the largest face"));
    group.append(...this.buttons);
    this.offer([]);
  }

  /** A face has another name. */
  renamed(faces: readonly Face[]): void {
    this.shownTracks = "";
    this.offer(faces);
  }

  reset(): void {
    this.chosen = this.current = null;
    this.offer([]);
  }

  /** The face of `faces` that is followed. */
  pick(faces: readonly Face[]): Face | null {
    const wanted = this.chosen ?? this.current;
    let face = faces.find((one) => one.track === wanted) ?? null;
    if (this.chosen !== null) return face;
    if (!face || face.status === "held") {
      for (const one of faces) {
        if (one.status !== "held" && (!face || face.status === "held" || area(one) > area(face))) face = one;
      }
    }
    this.current = face?.track ?? this.current;
    return face;
  }

  /** Buttons for the faces in view, and for the chosen one even where it is not. */
  offer(faces: readonly Face[]): void {
    const tracks = faces.map((face) => face.track);
    if (this.chosen !== null && !tracks.includes(this.chosen)) tracks.push(this.chosen);
    tracks.sort((a, b) => a - b);
    const shown = `${tracks.join()};${this.chosen}`;
    if (shown === this.shownTracks) return;
    this.shownTracks = shown;
    show(this.group, tracks.length > 1 || this.chosen !== null);
    for (let n = 0; n <= MOST; n++) {
      const button = this.buttons[n] as HTMLButtonElement;
      const track = n ? tracks[n - 1] : undefined;
      button.setAttribute("aria-pressed", String(n ? track === this.chosen && track !== undefined : this.chosen === null));
      if (!n) continue;
      show(button, track !== undefined);
      button.value = track === undefined ? "" : String(track);
      write(button, track === undefined ? "" : faceName(track));
    }
  }
}

const area = (face: Face): number => face.box[2] * face.box[3];
