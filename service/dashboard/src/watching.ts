// What is watched, and how it comes back by itself: the camera or clip that this page sends, or a session of the service.

import { closeSession, listSessions, openSession, Refused, sessionPast } from "./api";
import { release } from "./devices";
import type { Display } from "./display";
import { OwnPictures, PreviewPictures } from "./pictures";
import { EventStream } from "./stream";
import { Publication } from "./whip";

const RESTORE_EVERY = 1000; // ms
const ENDED_GRACE = 1500; // ms; a session that ended is begun anew, unless it turns out to have been closed
const DELAY_EVERY = 2000; // ms
const WIDEST_PREVIEW = 960; // pixels

type Input =
  | { kind: "camera" | "clip"; stream: MediaStream; publication: Publication | null; label: string }
  | { kind: "server"; source: string; openedHere: boolean };

export interface WatchingListener {
  /** What is watched changed; null: nothing. */
  changed(session: string | null, label: string): void;
  problem(sentence: string): void;
}

export class Watching {
  session: string | null = null;
  private input: Input | null = null;
  private readonly stream: EventStream;
  private timer = 0;
  private restoring = false;
  private complaint = ""; // the last one, which is not repeated
  private landmarks = false;

  constructor(
    private readonly display: Display,
    private readonly video: HTMLVideoElement,
    private readonly listener: WatchingListener,
  ) {
    this.stream = new EventStream({
      event: (event) => {
        this.display.event(event);
        if ((event.state === "ended" || event.state === "failed") && this.input?.kind !== "server") {
          this.restoreIn(ENDED_GRACE);
        }
      },
      link: (link) => {
        this.display.link = link;
        this.display.retryAt = this.stream.retryAt;
      },
      gone: (closed) => {
        if (closed) this.stop(false);
        else {
          this.display.restart();
          this.restoreIn(0);
        }
      },
    });
    addEventListener("pagehide", () => this.publication?.stop());
    setInterval(() => void this.measure(), DELAY_EVERY);
  }

  get inputKind(): Input["kind"] | null {
    return this.input?.kind ?? null;
  }

  /** Sends `stream`, which plays in the video element, and watches it. Throws `Refused`; the stream is let go then. */
  async send(kind: "camera" | "clip", stream: MediaStream, label: string): Promise<void> {
    this.letGo();
    const input: Input = { kind, stream, publication: null, label };
    this.input = input;
    this.display.begin(new OwnPictures(this.video, kind === "camera"), true);
    try {
      await this.publish(input);
    } catch (error) {
      this.stop(false);
      throw error;
    }
  }

  /** Opens `source` on the service's side and watches it. Throws `Refused`. */
  async open(source: string): Promise<void> {
    const info = await openSession(source);
    this.watch(info.id, info.source, source);
  }

  /** Watches a session that runs. `openedHere`: the source that this page opened it with. */
  watch(session: string, label: string, openedHere?: string): void {
    this.letGo();
    this.input = { kind: "server", source: openedHere ?? label, openedHere: openedHere !== undefined };
    const width = Math.min(WIDEST_PREVIEW, Math.ceil(innerWidth * devicePixelRatio));
    this.display.begin(new PreviewPictures(session, width), false);
    this.follow(session, label);
  }

  /** Stops watching. `close`: a session that this page brought ends with it. */
  stop(close = true): void {
    const { input, session } = this;
    this.letGo();
    if (close && session && input?.kind === "server" && input.openedHere) void closeSession(session).catch(() => undefined);
    this.stream.watch(null, false);
    this.session = null;
    this.display.end();
    this.listener.changed(null, "");
  }

  showLandmarks(shown: boolean): void {
    this.landmarks = this.display.landmarks = shown;
    if (this.session) this.stream.watch(this.session, shown);
  }

  /** Another camera or microphone while it runs. */
  async replace(stream: MediaStream): Promise<void> {
    const { input } = this;
    if (input?.kind !== "camera") return;
    for (const track of stream.getTracks()) await input.publication?.replace(track);
    for (const track of input.stream.getTracks()) track.stop();
    input.stream = stream;
  }

  private get publication(): Publication | null {
    return this.input && this.input.kind !== "server" ? this.input.publication : null;
  }

  private follow(session: string, label: string): void {
    const first = this.session !== session;
    this.session = session;
    this.display.restart();
    this.stream.watch(session, this.landmarks);
    this.listener.changed(session, label);
    if (first) {
      void sessionPast(session)
        .then((past) => {
          if (this.session === session) this.display.past(past);
        })
        .catch(() => undefined); // without its past the session is shown from now on
    }
  }

  private async publish(input: Input): Promise<void> {
    if (input.kind === "server") return;
    input.publication?.stop();
    input.publication = null;
    const publication = await Publication.start(input.stream, input.kind);
    if (this.input !== input) {
      publication.stop(); // stopped meanwhile
      return;
    }
    input.publication = publication;
    this.follow(publication.session, input.label);
  }

  private restoreIn(delay: number): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.restore(), delay);
  }

  /** Brings the session back after the service began anew, or took it for ended; tries until it is there. */
  private async restore(): Promise<void> {
    const { input, session } = this;
    if (!input || !session || this.restoring) return;
    this.restoring = true;
    try {
      if (input.kind !== "server") await this.publish(input);
      else {
        if (input.openedHere) await this.reopen(input.source, session);
        const there = (await listSessions()).some((info) => info.id === session);
        if (this.input !== input) return;
        if (there) this.follow(session, input.source);
        else this.restoreIn(RESTORE_EVERY);
      }
      this.complaint = "";
    } catch (error) {
      if (error instanceof Refused && error.message !== this.complaint) {
        this.complaint = error.message;
        this.listener.problem(error.message);
      }
      if (this.input === input) this.restoreIn(RESTORE_EVERY);
    } finally {
      this.restoring = false;
    }
  }

  private async reopen(source: string, session: string): Promise<void> {
    try {
      await openSession(source, session);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 409)) throw error; // another page was quicker
    }
  }

  private async measure(): Promise<void> {
    const { publication } = this;
    if (!publication) return;
    if (publication.broken) this.restoreIn(0);
    else this.display.clock.delay = await publication.delay();
  }

  private letGo(): void {
    clearTimeout(this.timer);
    const { input } = this;
    this.input = null;
    if (input && input.kind !== "server") {
      input.publication?.stop();
      release(this.video, input.stream);
    }
  }
}
