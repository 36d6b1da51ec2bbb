// How long it takes from a captured picture to its drawn numbers.

const LAST = 300; // events

export class Latency {
  private readonly values = new Float32Array(LAST);
  private readonly sorted = new Float32Array(LAST);
  private count = 0;

  clear(): void {
    this.count = 0;
  }

  /** `ms` of one event. */
  add(ms: number): void {
    if (Number.isFinite(ms)) this.values[this.count++ % LAST] = ms;
  }

  /** p50 and p95 in ms of the last events; null before the first. */
  percentiles(): [number, number] | null {
    const n = Math.min(this.count, LAST);
    if (!n) return null;
    this.sorted.set(this.values);
    const some = this.sorted.subarray(0, n).sort();
    const at = (share: number): number => some[Math.min(n - 1, Math.floor(share * n))] as number;
    return [at(0.5), at(0.95)];
  }
}
