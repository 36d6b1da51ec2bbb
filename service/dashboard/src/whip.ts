// A camera or clip to the service, by WHIP (RFC 9725): an offer is posted, the answer comes back, DELETE ends it.

import { ask, Refused } from "./api";

const GATHERING = 500; // ms that the offer waits for ICE candidates; later ones are sent after it
const MOST_NAMES = 32;
const FRAGMENT = "application/trickle-ice-sdpfrag";

export class Publication {
  private constructor(
    readonly session: string,
    private readonly connection: RTCPeerConnection,
    private readonly resource: string,
  ) {}

  /** Sends `stream` with the query `asked` as session `name`, or `name-2` … where that is taken. Throws `Refused`. */
  static async start(stream: MediaStream, name: string, asked: Readonly<Record<string, string>>): Promise<Publication> {
    const connection = new RTCPeerConnection({ iceServers: await iceServers(name), bundlePolicy: "max-bundle" });
    try {
      for (const track of stream.getTracks()) {
        if (track.kind === "video") track.contentHint = "motion";
        connection.addTransceiver(track, { direction: "sendonly", streams: [stream] });
      }
      const late = new Trickle(connection);
      await connection.setLocalDescription();
      await gathered(connection);
      const offer = connection.localDescription?.sdp ?? "";
      for (let n = 1; ; n++) {
        const session = n === 1 ? name : `${name}-${n}`;
        try {
          const answer = await ask(`/whip/${session}?${new URLSearchParams(asked)}`, {
            method: "POST",
            headers: { "Content-Type": "application/sdp" },
            body: offer,
          });
          await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
          const resource = answer.headers.get("location") ?? "";
          late.send(resource, answer.headers.get("etag"));
          return new Publication(session, connection, resource);
        } catch (error) {
          if (!(error instanceof Refused && error.status === 409 && n < MOST_NAMES)) throw error;
        }
      }
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Whether the connection came to an end by itself. */
  get broken(): boolean {
    return this.connection.connectionState === "failed" || this.connection.connectionState === "closed";
  }

  /** Another camera or microphone in the place of the one that is sent. */
  async replace(track: MediaStreamTrack): Promise<void> {
    for (const sender of this.connection.getSenders()) {
      if (sender.track?.kind === track.kind) await sender.replaceTrack(track);
    }
  }

  /** Seconds that a picture takes from the camera to the service's decoder, as far as this end can tell. */
  async delay(): Promise<number> {
    let encode = 0;
    let trip = 0;
    let rate = 30;
    (await this.connection.getStats()).forEach((part: Record<string, unknown>) => {
      const number = (key: string): number => (typeof part[key] === "number" ? (part[key] as number) : 0);
      if (part["type"] === "outbound-rtp" && part["kind"] === "video" && number("framesEncoded")) {
        encode = number("totalEncodeTime") / number("framesEncoded");
        rate = number("framesPerSecond") || rate;
      }
      if (part["type"] === "candidate-pair" && part["nominated"]) trip = number("currentRoundTripTime") / 2;
    });
    // The receiver knows that a picture is whole when the next one begins.
    return encode + trip + 1 / rate;
  }

  /** Ends it here and there; the page may be going away. */
  stop(): void {
    void fetch(this.resource, { method: "DELETE", keepalive: true })
      .catch(() => undefined) // the service is away, and notices by itself that nothing comes
      .finally(() => this.connection.close());
  }
}

/** Candidates that are found after the offer was sent go by PATCH. */
class Trickle {
  private readonly waiting: RTCIceCandidate[] = [];
  private resource: string | null = null;
  private etag: string | null = null;

  constructor(private readonly connection: RTCPeerConnection) {
    connection.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return;
      const offered = connection.localDescription?.sdp.includes(candidate.candidate) && this.resource === null;
      if (!offered) this.waiting.push(candidate);
      this.flush();
    };
  }

  send(resource: string, etag: string | null): void {
    this.resource = resource;
    this.etag = etag;
    this.flush();
  }

  private flush(): void {
    if (this.resource === null || !this.waiting.length) return;
    const sdp = this.connection.localDescription?.sdp ?? "";
    const lines = [/^a=ice-ufrag:.*$/m, /^a=ice-pwd:.*$/m].map((line) => sdp.match(line)?.[0] ?? "");
    for (const candidate of this.waiting.splice(0)) {
      lines.push("m=video 9 UDP/TLS/RTP/SAVPF 0", `a=mid:${candidate.sdpMid ?? "0"}`, `a=${candidate.candidate}`);
    }
    const headers: Record<string, string> = { "Content-Type": FRAGMENT };
    if (this.etag) headers["If-Match"] = this.etag;
    // A candidate that is refused is one way less to connect, and no reason to stop.
    void fetch(this.resource, { method: "PATCH", headers, body: `${lines.join("\r\n")}\r\n` }).catch(() => undefined);
  }
}

function gathered(connection: RTCPeerConnection): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      connection.removeEventListener("icegatheringstatechange", check);
      resolve();
    };
    const check = (): void => {
      if (connection.iceGatheringState === "complete") done();
    };
    const timer = setTimeout(done, GATHERING);
    connection.addEventListener("icegatheringstatechange", check);
    check();
  });
}

/** What the Link headers of RFC 9725, 4.6 name. */
async function iceServers(session: string): Promise<RTCIceServer[]> {
  const answer = await ask(`/whip/${session}`, { method: "OPTIONS" });
  const servers: RTCIceServer[] = [];
  for (const link of (answer.headers.get("link") ?? "").matchAll(/<([^>]+)>;\s*rel="ice-server"([^<]*)/g)) {
    const of = (name: string): string | undefined => link[2]?.match(new RegExp(`${name}="([^"]*)"`))?.[1];
    const server: RTCIceServer = { urls: link[1] as string };
    const username = of("username");
    const credential = of("credential");
    if (username !== undefined && credential !== undefined) Object.assign(server, { username, credential });
    servers.push(server);
  }
  return servers;
}
