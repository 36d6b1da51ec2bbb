// What is watched, and how it comes back by itself: the camera or clip that this page sends, or a session of the service.

import { closeSession, listSessions, openSession, Refused, sessionPast } from "./api";
import { release } from "./devices";
import { chosenOptions, type SessionOptions } from "./session_options";
import type { Display } from "./display";
import type { AffectEvent } from "./event";
import { OwnPictures, PreviewPictures } from "./pictures";
import { EventStream } from "./stream";
import { Publication } from "./whip";

const RESTORE_EVERY = 1000; // ms
const ENDED_GRACE = 1500; // ms; a session that ended is begun anew, unless it turns out to have been closed
const DELAY_EVERY = 2000; // ms
const WIDEST_PREVIEW = 960; // pixels

type Input =
  | { kind: "camera" | "clip"; stream: MediaStream; publication: Publication | null; label: string; purpose: string; options: SessionOptions }
  | { kind: "server"; source: string; openedHere: boolean; purpose?: string | undefined; options: SessionOptions };

export interface WatchingListener {
  /** What is watched changed; null: nothing. */
  changed(session: string | null, label: string): void;
  problem(sentence: string): void;
  /** Somebody closed the session that was watched. */
  closed(session: string): void;
  /** An event of the session that is watched. */
  event(event: AffectEvent): void;
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
        this.listener.event(event);
        if ((event.state === "ended" || event.state === "failed") && this.input?.kind !== "server") {
          this.restoreIn(ENDED_GRACE);
        }
      },
      link: (link) => {
        this.display.link = link;
        this.display.retryAt = this.stream.retryAt;
      },
      gone: (closed) => {
        if (closed) {
          const name = this.session;
          this.stop(false);
          if (name !== null) this.listener.closed(name);
        } else {
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
  async send(kind: "camera" | "clip", stream: MediaStream, label: string, purpose: string): Promise<void> {
    this.letGo();
    const input: Input = { kind, stream, publication: null, label, purpose, options: chosenOptions() };
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
  async open(source: string, purpose?: string): Promise<void> {
    const options = chosenOptions();
    const info = await openSession(source, options, purpose);
    this.watch(info.id, info.source, { source, options, purpose });
  }

  /** Watches a session that runs. `opened`: what this page opened it with. */
  watch(session: string, label: string, opened?: { source: string; options: SessionOptions; purpose?: string | undefined }): void {
    this.letGo();
    this.input = { kind: "server", openedHere: opened !== undefined, ...(opened ?? { source: label, options: {} }) };
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

  /** Forgets what this page shows of the past, after the service has. */
  forget(): void {
    this.display.restart(false);
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

  /** Whether the microphone is sent with the camera; switching it takes effect at once. */
  hear(on: boolean): void {
    if (this.input?.kind !== "camera") return;
    for (const track of this.input.stream.getAudioTracks()) track.enabled = on;
  }

  /** Whether this page sends a camera with a microphone. */
  get hasMicrophone(): boolean {
    return this.input?.kind === "camera" && this.input.stream.getAudioTracks().length > 0;
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
    const publication = await Publication.start(input.stream, input.kind, { purpose: input.purpose, ...input.options });
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
        if (input.openedHere) await this.reopen(input, session);
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

  private async reopen({ source, options, purpose }: Input & { kind: "server" }, session: string): Promise<void> {
    try {
      await openSession(source, options, purpose, session);
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
