// What the faces are called on this page. Names are kept in its memory alone, and tracks of a new session have none.

import { say } from "./say";

const given = new Map<number, string>();

/** The name that the user gave a face, or its number. */
export function faceName(track: number): string {
  return given.get(track) ?? say("Face {track}", { track });
}

/** The same within a sentence. */
export function nameInSentence(track: number): string {
  return given.get(track) ?? say("face {track}", { track });
}

/** The name alone, short enough for a label in the picture: the number where there is none. */
export function shortName(track: number): string {
  return given.get(track) ?? String(track);
}

/** Names a face; an empty name gives it its number back. */
export function rename(track: number, name: string): void {
  if (name.trim()) given.set(track, name.trim());
  else given.delete(track);
}

export function forgetNames(): void {
  given.clear();
}
