// The sentence on the state of the session: under the picture, over it where there is none, and read out once it stands.

import { find, show, write } from "./page";
import type { Status } from "./words";

const SETTLED = 1200; // ms that a sentence stands before it is read out

export class StatusLine {
  private sentence = ""; // to be read out
  private since = 0; // ms

  private readonly line = find("status");
  private readonly words = find("status-words");
  private readonly veil = find("veil");
  private readonly announcer = find("announcer");

  /** Writes `said`, over the picture too where that is `veiled`. `spoken` is what a screen reader says of it. */
  write({ tone, text }: Status, veiled: boolean, spoken: string, now: number): void {
    if (this.line.dataset["tone"] !== tone) this.line.dataset["tone"] = tone;
    write(this.words, text);
    show(this.veil, veiled);
    if (veiled) write(this.veil, text);
    if (spoken !== this.sentence) {
      this.sentence = spoken;
      this.since = now;
    } else if (now - this.since > SETTLED) {
      write(this.announcer, spoken);
    }
  }
}
