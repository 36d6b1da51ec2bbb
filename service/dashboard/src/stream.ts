// The events of one session over a WebSocket that reconnects by itself.

import type { AffectEvent } from "./event";

const FIRST_RETRY = 500; // ms
const LONGEST_RETRY = 5000; // ms
const NORMAL = 1000;
const UNKNOWN_SESSION = 4404;

export type Link = "idle" | "connecting" | "open" | "lost";

export interface StreamListener {
  event(event: AffectEvent): void;
  link(link: Link): void;
  /** The service has no such session. `closed`: it was closed while it was followed. */
  gone(closed: boolean): void;
}

export class EventStream {
  link: Link = "idle";
  /** When the next attempt is due, in ms of performance.now(), while the link is lost. */
  retryAt = 0;
  private socket: WebSocket | null = null;
  private session: string | null = null;
  private landmarks = false;
  private retry = FIRST_RETRY;
  private timer = 0;

  constructor(private readonly listener: StreamListener) {
    addEventListener("online", () => {
      if (this.link === "lost") this.connect();
    });
  }

  /** Follows `session` from now on, or none. */
  watch(session: string | null, landmarks: boolean): void {
    this.session = session;
    this.landmarks = landmarks;
    this.retry = FIRST_RETRY;
    this.connect();
  }

  private connect(): void {
    clearTimeout(this.timer);
    const old = this.socket;
    this.socket = null;
    old?.close();
    if (this.session === null) {
      this.tell("idle");
      return;
    }
    if (this.link !== "lost") this.tell("connecting");
    const query = new URLSearchParams({ session: this.session });
    if (this.landmarks) query.set("landmarks", "1");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/stream?${query}`);
    this.socket = socket;
    socket.onmessage = (message) => {
      if (socket !== this.socket) return;
      this.retry = FIRST_RETRY;
      if (this.link !== "open") this.tell("open");
      this.listener.event(JSON.parse(message.data as string) as AffectEvent);
    };
    socket.onclose = (close) => {
      if (socket !== this.socket) return;
      this.socket = null;
      if (close.code === UNKNOWN_SESSION || close.code === NORMAL) {
        this.tell("open");
        this.listener.gone(close.code === NORMAL);
        return;
      }
      this.retryAt = performance.now() + this.retry;
      this.timer = window.setTimeout(() => this.connect(), this.retry);
      this.retry = Math.min(this.retry * 1.6, LONGEST_RETRY);
      this.tell("lost");
    };
  }

  private tell(link: Link): void {
    this.link = link;
    this.listener.link(link);
  }
}
