// The button that records numbers, and the card at the end that sums them up and saves them.

import { download } from "./csv";
import type { AffectEvent } from "./event";
import { faceName } from "./names";
import { find, write } from "./page";
import { type FaceSummary, Recording, type Statistics } from "./recording";
import { say, translated } from "./say";
import { clock } from "./series";
import { toast } from "./toasts";
import { signed } from "./words";

const COUNT_EVERY = 500; // ms

export class Recorder {
  private recording: Recording | null = null;
  private ended: Recording | null = null; // the last one, which the card is about
  private saved = true;
  private readonly button = find<HTMLButtonElement>("record");
  private readonly card = find<HTMLDialogElement>("summary");

  constructor() {
    this.button.onclick = () => this.toggle();
    find("save-numbers").onclick = () => this.save("csv");
    find("save-summary").onclick = () => this.save("json");
    setInterval(() => this.count(), COUNT_EVERY);
    addEventListener("beforeunload", (leaving) => {
      if (this.recording || !this.saved) leaving.preventDefault(); // the browser asks whether to leave
    });
  }

  event(event: AffectEvent): void {
    if (!this.recording) return;
    this.recording.add(event);
    if (this.recording.full) {
      this.stop();
      toast(say("The recording is full and has ended; save it"), "bad");
    }
  }

  toggle(): void {
    if (this.recording) this.stop();
    else this.recording = new Recording();
    this.count();
  }

  /** Ends the recording, if one runs, and shows what it holds. */
  stop(): void {
    if (!this.recording) return;
    this.ended = this.recording;
    this.saved = false;
    this.recording = null;
    this.count();
    this.show(this.ended);
  }

  private count(): void {
    const running = this.recording !== null;
    this.button.setAttribute("aria-pressed", String(running));
    this.button.title = say(running ? "Stop recording numbers" : "Record the numbers of this session");
    write(
      find("record-words"),
      this.recording ? say("Stop {time}", { time: clock(Math.floor(this.recording.seconds)) }) : say("Record"),
    );
  }

  private show(recording: Recording): void {
    const { seconds, pictures, lost_events, faces, markers } = recording.summary();
    const lost = lost_events ? say("; {lost} events did not reach this page", { lost: lost_events }) : "";
    write(find("summary-span"), `${say("{time}, {pictures} pictures", { time: clock(Math.round(seconds)), pictures })}${lost}.`);
    find("summary-rows").replaceChildren(...faces.map(row));
    write(
      find("summary-markers"),
      markers.length ? say("Markers: {list}", { list: markers.map(({ t, label }) => `${label} (${clock(Math.floor(t))})`).join(", ") }) : "",
    );
    this.card.showModal();
  }

  private save(kind: "csv" | "json"): void {
    if (!this.ended) return;
    const summary = this.ended.summary();
    const name = `affect-${summary.session || "session"}-${summary.began.slice(0, 19).replaceAll(":", "")}`;
    if (kind === "json") download(`${name}.json`, `${JSON.stringify(summary, null, 1)}\n`, "application/json");
    else {
      download(`${name}.csv`, this.ended.csv());
      this.saved = true;
    }
  }
}

function row(face: FaceSummary): HTMLTableRowElement {
  const line = document.createElement("tr");
  const [best] = Object.entries(face.expressions);
  const cells = [
    `${Math.round(100 * face.read)}\u00a0%`,
    figures(face.valence),
    figures(face.arousal),
    best ? `${translated(best[0])} (${Math.round(100 * best[1])} %)` : "–",
  ];
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = faceName(face.track);
  line.append(head);
  for (const text of cells) line.insertCell().textContent = text;
  return line;
}

function figures(one: Statistics | null): string {
  return one ? `${signed(one.mean)} ±\u00a0${one.std.toFixed(2)}` : "–";
}
