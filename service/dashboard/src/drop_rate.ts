// Which share of a session's pictures was dropped lately, from the counts that the service gives once a second.

import type { SessionInfo } from "./event";

const OVER = 5; // counts, so about as many seconds

export class DropRate {
  private id = "";
  private readonly counts: { events: number; lost: number }[] = [];

  /** NaN before there are two counts of the same session. */
  share(info: SessionInfo | undefined): number {
    if (!info || info.id !== this.id) {
      this.id = info?.id ?? "";
      this.counts.length = 0;
    }
    if (!info) return NaN;
    this.counts.push({ events: info.figures.events, lost: info.figures.dropped["newest_wins"] ?? 0 });
    if (this.counts.length > OVER) this.counts.shift();
    const [first, last] = [this.counts[0], this.counts.at(-1)];
    if (!first || !last) return NaN;
    const [events, lost] = [last.events - first.events, last.lost - first.lost];
    return events + lost > 0 && lost >= 0 ? lost / (events + lost) : NaN;
  }
}
