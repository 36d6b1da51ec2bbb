// The events of one session at a time, over the client that other programs use too.

import { type AffectStream, connect } from "../../../affectstream/js/src/client";
import { address } from "./api";
import type { AffectEvent } from "./event";

export type Link = "idle" | "connecting" | "open" | "lost";

export interface StreamListener {
  event(event: AffectEvent): void;
  link(link: Link): void;
  /** The service has no such session. `closed`: it was closed while it was followed. */
  gone(closed: boolean): void;
}

export class EventStream {
  link: Link = "idle";
  private stream: AffectStream | null = null;
  private followed: object | null = null;

  constructor(private readonly listener: StreamListener) {}

  /** When the next attempt is due, in ms of performance.now(), while the link is lost. */
  get retryAt(): number {
    return this.stream?.retryAt ?? 0;
  }

  /** Follows `session` from now on, or none. */
  watch(session: string | null, landmarks: boolean): void {
    const own = {};
    this.followed = own; // what an earlier stream still reports is not of this session
    this.stream?.close();
    this.stream = null;
    if (session === null) {
      this.tell("idle");
      return;
    }
    this.stream = connect(address("/"), {
      session,
      landmarks,
      wait: false,
      onEvent: (event) => {
        if (this.followed === own) this.listener.event(event);
      },
      onStatus: (status) => {
        if (this.followed === own && status !== "closed") this.tell(status === "stale" ? "open" : status);
      },
      onEnd: (end) => {
        if (this.followed !== own || end === "closed") return;
        if (end === "refused") return this.tell("lost"); // the list of sessions leads to the login
        this.tell("open");
        this.listener.gone(end === "ended");
      },
    });
  }

  private tell(link: Link): void {
    if (link === this.link && link !== "lost") return;
    this.link = link;
    this.listener.link(link);
  }
}
