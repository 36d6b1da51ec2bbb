// Light and dark, for the style sheet and for what is drawn on canvases.

import { remember, remembered } from "./storage";

const KEY = "affectstream-theme";
const SYSTEM = "system";
const system = matchMedia("(prefers-color-scheme: dark)");

export const TRACK_COLOURS = 6;

export interface Colours {
  ink: string;
  soft: string;
  line: string;
  panel: string;
  valence: string;
  arousal: string;
  good: string;
  bad: string;
  tracks: string[];
}

/** Colours of the theme, read from the style sheet; the same object always, so that drawing code may keep it. */
export const colours: Colours = { ink: "", soft: "", line: "", panel: "", valence: "", arousal: "", good: "", bad: "", tracks: [] };

/** Pixels of 1 rem, which grows with the screen. */
export let rem = 16;

/** One colour of a track, by its number. */
export function trackColour(track: number): string {
  return colours.tracks[track % TRACK_COLOURS] as string;
}

export function isDark(): boolean {
  return document.documentElement.dataset["theme"] === "dark";
}

/** Takes the user's choice, else the system's; calls `changed` now and whenever it changes, or the screen does. */
export function startTheme(choice: HTMLSelectElement, changed: () => void): void {
  const apply = (): void => {
    const wanted = remembered(KEY) ?? SYSTEM;
    const dark = wanted === "dark" || (wanted !== "light" && system.matches);
    document.documentElement.dataset["theme"] = dark ? "dark" : "light";
    read();
    changed();
  };
  choice.value = remembered(KEY) ?? SYSTEM;
  choice.addEventListener("change", () => {
    remember(KEY, choice.value);
    apply();
  });
  system.addEventListener("change", apply);
  addEventListener("resize", apply);
  apply();
}

function read(): void {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  rem = parseFloat(style.fontSize);
  colours.ink = of("ink");
  colours.soft = of("ink-soft");
  colours.line = of("line");
  colours.panel = of("panel");
  colours.valence = of("valence");
  colours.arousal = of("arousal");
  colours.good = of("good");
  colours.bad = of("bad");
  colours.tracks = Array.from({ length: TRACK_COLOURS }, (_, n) => of(`track-${n}`));
}
