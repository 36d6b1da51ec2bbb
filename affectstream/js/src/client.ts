// The events of an Affectstream service over a WebSocket that reconnects by itself, in browsers and in Node 22 or newer.

import type { AffectEvent } from "./event.js";

export type * from "./event.js";

const FIRST_PAUSE = 500; // ms between attempts, doubling; each is shortened at random, to spread clients
const LONGEST_PAUSE = 5000; // ms
const BUFFER = 256; // events that wait for `for await`; then the oldest are lost and counted
const NORMAL = 1000; // close codes: the session is over
const FAILED = 1006; // the connection was lost, or could not be opened
const POLICY = 1008; // this client is not wanted
const UNKNOWN_SESSION = 4404;

/** `stale`: connected, but no event came for `staleAfter`, or the source gives no pictures; `lost`: connecting again. */
export type Status = "connecting" | "open" | "stale" | "lost" | "closed";

/** Why a stream ended: by `close()`, with its session, without one of that name, or because the service refuses it. */
export type End = "closed" | "ended" | "unknown" | "refused";

/** The service refuses this client; the message is its sentence. */
export class Refused extends Error {}

export interface Options {
  /** Name of one session; all of them without it. */
  session?: string;
  /** The service's token; a ticket is asked for with it before each connection. */
  token?: string;
  /** Gives a ticket for one connection, where a server of yours keeps the token. */
  ticket?: () => Promise<string>;
  /** Whether each face carries its 68 points, in pixels. */
  landmarks?: boolean;
  /** Whether to wait for a session that is not open; true unless said otherwise. */
  wait?: boolean;
  /** Milliseconds without an event after which the status is `stale`; 2000 unless said otherwise. */
  staleAfter?: number;
  onEvent?(event: AffectEvent): void;
  /** `why` is a sentence, empty where there is nothing to say. */
  onStatus?(status: Status, why: string): void;
  onEnd?(end: End, why: string): void;
}

/** Follows the service at `url` (the page's own by default) until `close()`, the end of the session, or a refusal. */
export function connect(url?: string, options: Options = {}): AffectStream {
  return new AffectStream(url, options);
}

export class AffectStream implements AsyncIterable<AffectEvent> {
  status: Status = "connecting";
  /** When the next attempt is due, in ms of performance.now(), while the status is `lost`. */
  retryAt = 0;
  /** Events that `for await` was too slow for. */
  dropped = 0;
  /** Why it ended; null while it goes on. */
  end: End | null = null;
  readonly #base: URL;
  readonly #options: Options;
  readonly #last = new Map<string, string>(); // by session: the service repeats the last event after a reconnect
  #socket: WebSocket | null = null;
  #pause = FIRST_PAUSE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #quiet: ReturnType<typeof setTimeout> | undefined;
  #why = "";
  #iterated = false;
  #waiting: AffectEvent[] = [];
  #wake: (() => void) | null = null;

  constructor(url: string | undefined, options: Options) {
    this.#options = options;
    this.#base = url === undefined ? new URL(".", location.href) : new URL(url, globalThis.location?.href);
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    globalThis.addEventListener?.("online", this.#online);
    options.onStatus?.("connecting", "");
    void this.#open();
  }

  /** Ends the stream. */
  close(): void {
    this.#finish("closed", "");
  }

  /** Yields events as they come, the newest 256 where the loop is slow; throws `Refused` where the service refuses. */
  async *[Symbol.asyncIterator](): AsyncGenerator<AffectEvent> {
    this.#iterated = true;
    try {
      for (;;) {
        const event = this.#waiting.shift();
        if (event) yield event;
        else if (this.end === "refused") throw new Refused(this.#why);
        else if (this.end) return;
        else await new Promise<void>((wake) => (this.#wake = wake));
      }
    } finally {
      this.close();
    }
  }

  async #open(): Promise<void> {
    clearTimeout(this.#timer);
    const address = new URL("v1/stream", this.#base);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    address.search = "";
    if (this.#options.session !== undefined) address.searchParams.set("session", this.#options.session);
    if (this.#options.landmarks) address.searchParams.set("landmarks", "1");
    try {
      const ticket = await this.#ticket();
      if (ticket) address.searchParams.set("ticket", ticket);
    } catch (error) {
      if (error instanceof Refused) this.#finish("refused", error.message);
      else this.#lost(String(error));
      return;
    }
    if (this.end) return;
    this.#socket?.close();
    const socket = (this.#socket = new WebSocket(address));
    socket.onopen = () => this.#watch();
    socket.onmessage = (message) => {
      if (this.#socket === socket) this.#take(message.data as string);
    };
    const over = (code: number, reason: string): void => {
      if (this.#socket === socket) void this.#closed(code, reason);
    };
    socket.onclose = (close) => over(close.code, close.reason);
    socket.onerror = () => over(FAILED, ""); // Node 20 closes none that could not be opened
  }

  async #ticket(): Promise<string | undefined> {
    const { token, ticket } = this.#options;
    if (ticket) return ticket();
    if (!token) return undefined;
    const answer = await fetch(new URL("v1/tickets", this.#base), { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    if (answer.status === 401 || answer.status === 403) throw new Refused(await sentence(answer));
    if (!answer.ok) throw new Error(await sentence(answer));
    return ((await answer.json()) as { ticket: string }).ticket;
  }

  #take(text: string): void {
    const event = JSON.parse(text) as AffectEvent;
    this.#pause = FIRST_PAUSE;
    this.#watch();
    const stale = event.reasons.includes("stale");
    this.#tell(stale ? "stale" : "open", stale ? (event.detail ?? "The source gives no pictures") : "");
    if (this.#last.get(event.session) === text) return;
    this.#last.set(event.session, text);
    this.#options.onEvent?.(event);
    if (!this.#iterated) return;
    this.#waiting.push(event);
    if (this.#waiting.length > BUFFER) {
      this.#waiting.shift();
      this.dropped++;
    }
    this.#wake?.();
  }

  async #closed(code: number, reason: string): Promise<void> {
    this.#socket = null;
    const { session, wait } = this.#options;
    if (code === NORMAL && session !== undefined) return this.#finish("ended", reason);
    if (code === UNKNOWN_SESSION && wait === false) return this.#finish("unknown", reason);
    if (code === POLICY) return this.#finish("refused", reason);
    // A WebSocket does not say why it could not be opened; a request does.
    if (code === FAILED && this.status !== "open") {
      const answer = await fetch(new URL("v1/sessions", this.#base), { method: "HEAD" }).catch(() => null);
      if (answer?.status === 401) return this.#finish("refused", "the service wants a token");
    }
    this.#lost(reason);
  }

  #lost(why: string): void {
    if (this.end) return;
    clearTimeout(this.#quiet);
    const pause = this.#pause * (0.5 + Math.random() / 2);
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    this.retryAt = performance.now() + pause;
    this.#timer = setTimeout(() => void this.#open(), pause);
    this.#why = why;
    this.#tell("lost", why);
  }

  #finish(end: End, why: string): void {
    if (this.end) return;
    this.end = end;
    this.#why = why;
    clearTimeout(this.#timer);
    clearTimeout(this.#quiet);
    globalThis.removeEventListener?.("online", this.#online);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#tell("closed", why);
    this.#options.onEnd?.(end, why);
    this.#wake?.();
  }

  readonly #online = (): void => {
    if (this.status === "lost") void this.#open();
  };

  #watch(): void {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#tell("stale", "No event comes"), this.#options.staleAfter ?? 2000);
  }

  #tell(status: Status, why: string): void {
    if (status === this.status && status !== "lost") return;
    this.status = status;
    this.#options.onStatus?.(status, why);
  }
}

async function sentence(answer: Response): Promise<string> {
  const problem = (await answer.json().catch(() => ({}))) as { detail?: string };
  return problem.detail ?? `the service answered ${answer.status}`;
}
