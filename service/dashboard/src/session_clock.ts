// From the session's seconds to this page's: an event tells when its picture was captured, but only on the service's
// clock. The quickest of the last events tells how the two clocks lie to each other.

const BUCKET = 5000; // ms; the least of this and the bucket before counts, so that a drift is followed

export class SessionClock {
  /** Seconds from the camera to the service's decoder, which no event can know. */
  delay = 0.05;
  private offset = Infinity; // ms, least of the running bucket
  private before = Infinity;
  private began = -Infinity;

  reset(): void {
    this.offset = this.before = Infinity;
    this.began = -Infinity;
  }

  /** An event about second `t` came at `now` (ms of performance.now()), `total` ms after the service had the picture. */
  heard(t: number, now: number, total: number): void {
    if (now - this.began > BUCKET) {
      this.before = this.offset;
      this.offset = Infinity;
      this.began = now;
    }
    this.offset = Math.min(this.offset, now - total - t * 1000);
  }

  /** When, in ms of performance.now(), the picture of second `t` was captured. NaN before any event. */
  captured(t: number): number {
    const offset = Math.min(this.offset, this.before);
    return Number.isFinite(offset) ? t * 1000 + offset - this.delay * 1000 : NaN;
  }
}
