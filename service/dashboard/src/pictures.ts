// Where the pictures on the screen come from: the video element that holds the camera or clip, or the service's
// preview. Both keep pictures for long enough to show each one together with what was read from it.

import { address } from "./api";

const KEPT = 32; // pictures, about a second; 29 MB of those below
const WIDEST = 640; // pixels that a kept picture is wide at most

export interface Picture {
  image: CanvasImageSource;
  width: number;
  height: number;
  /** Own pictures: when captured, ms of performance.now(). Previews: seconds on the session clock. */
  time: number;
}

export interface Pictures {
  readonly mirrored: boolean;
  /** The newest one that is not newer than `time`, or the oldest there is; null before the first. */
  at(time: number): Picture | null;
  newest(): Picture | null;
  stop(): void;
}

type Slot = Picture & { image: HTMLCanvasElement; context: CanvasRenderingContext2D };

/** The last second of a video element that this page plays. */
export class OwnPictures implements Pictures {
  private readonly slots: Slot[] = [];
  private count = 0;
  private stopped = false;

  constructor(
    private readonly video: HTMLVideoElement,
    readonly mirrored: boolean,
  ) {
    this.wait();
  }

  at(time: number): Picture | null {
    const oldest = Math.max(0, this.count - KEPT);
    for (let n = this.count - 1; n > oldest; n--) {
      const slot = this.slots[n % KEPT] as Slot;
      if (slot.time <= time) return slot;
    }
    return this.slots[oldest % KEPT] ?? null;
  }

  newest(): Picture | null {
    return this.count ? (this.slots[(this.count - 1) % KEPT] as Slot) : null;
  }

  stop(): void {
    this.stopped = true;
    this.slots.length = 0;
    this.count = 0;
  }

  private wait(): void {
    if (this.stopped) return;
    if ("requestVideoFrameCallback" in this.video) {
      this.video.requestVideoFrameCallback((now, about) => {
        this.keep(about.captureTime ?? now);
        this.wait();
      });
    } else {
      requestAnimationFrame((now) => {
        this.keep(now);
        this.wait();
      });
    }
  }

  private keep(time: number): void {
    const { videoWidth, videoHeight } = this.video;
    if (this.stopped || !videoWidth) return;
    const scale = Math.min(1, WIDEST / videoWidth);
    const width = Math.round(videoWidth * scale);
    const height = Math.round(videoHeight * scale);
    const slot = this.slots[this.count % KEPT] ?? this.slot();
    if (slot.width !== width || slot.height !== height) {
      slot.image.width = slot.width = width;
      slot.image.height = slot.height = height;
    }
    slot.context.drawImage(this.video, 0, 0, width, height);
    slot.time = time;
    this.count++;
  }

  private slot(): Slot {
    const image = document.createElement("canvas");
    const context = image.getContext("2d", { alpha: false }) as CanvasRenderingContext2D;
    const slot = { image, context, width: 0, height: 0, time: 0 };
    this.slots.push(slot);
    return slot;
  }
}

const KEPT_PREVIEWS = 10; // they come when they have been read, and so wait for little
const RETRY = 1000; // ms
const HEAD_END = [13, 10, 13, 10]; // an empty line

/** JPEG parts of a session that the service holds, each with its time; comes back by itself until stopped. */
export class PreviewPictures implements Pictures {
  readonly mirrored = false;
  private readonly kept: Picture[] = [];
  private readonly abort = new AbortController();
  private waiting: [Blob, number] | null = null;
  private decoding = false;

  constructor(session: string, width: number) {
    void this.follow(`/v1/sessions/${encodeURIComponent(session)}/preview?fps=30&width=${width}`);
  }

  at(time: number): Picture | null {
    for (let n = this.kept.length - 1; n > 0; n--) {
      const picture = this.kept[n] as Picture;
      if (picture.time <= time + 0.0006) return picture; // an event's t is rounded to a millisecond
    }
    return this.kept[0] ?? null;
  }

  newest(): Picture | null {
    return this.kept.at(-1) ?? null;
  }

  stop(): void {
    this.abort.abort();
    for (const picture of this.kept.splice(0)) (picture.image as ImageBitmap).close();
  }

  private async follow(path: string): Promise<void> {
    while (!this.abort.signal.aborted) {
      try {
        const answer = await fetch(address(path), { signal: this.abort.signal });
        if (answer.ok && answer.body) await this.read(answer.body.getReader());
      } catch {
        // stopped, or the service is away
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }

  private async read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    let buffer = new Uint8Array(1 << 18);
    let length = 0;
    const text = new TextDecoder("latin1");
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (length + value.length > buffer.length) {
        const larger = new Uint8Array(2 * (length + value.length));
        larger.set(buffer.subarray(0, length));
        buffer = larger;
      }
      buffer.set(value, length);
      length += value.length;
      let start = 0;
      for (;;) {
        const end = headEnd(buffer, start, length);
        if (end < 0) break;
        const head = text.decode(buffer.subarray(start, end));
        const size = Number(/content-length: *(\d+)/i.exec(head)?.[1] ?? NaN);
        const time = Number(/x-timestamp: *([\d.]+)/i.exec(head)?.[1] ?? NaN);
        if (!Number.isFinite(size) || end + size > length) break;
        this.take(new Blob([buffer.subarray(end, end + size)], { type: "image/jpeg" }), time);
        start = end + size;
      }
      buffer.copyWithin(0, start, length);
      length -= start;
    }
  }

  private take(jpeg: Blob, time: number): void {
    if (document.hidden) return; // nobody looks
    this.waiting = [jpeg, time]; // the newest wins
    if (!this.decoding) void this.decode();
  }

  private async decode(): Promise<void> {
    this.decoding = true;
    while (this.waiting) {
      const [jpeg, time] = this.waiting;
      this.waiting = null;
      try {
        const image = await createImageBitmap(jpeg);
        if (this.abort.signal.aborted) {
          image.close();
          break;
        }
        this.kept.push({ image, width: image.width, height: image.height, time });
        if (this.kept.length > KEPT_PREVIEWS) (this.kept.shift()?.image as ImageBitmap).close();
      } catch {
        // a damaged picture is left out
      }
    }
    this.decoding = false;
  }
}

function headEnd(buffer: Uint8Array, start: number, length: number): number {
  for (let i = start; i + 4 <= length; i++) {
    if (HEAD_END.every((byte, k) => buffer[i + k] === byte)) return i + 4;
  }
  return -1;
}
