// The sessions that run on the service, with their live figures.

import type { SessionInfo } from "./event";
import { say, translated } from "./say";
import { milliseconds } from "./words";

interface Entry {
  item: HTMLLIElement;
  name: HTMLElement;
  source: HTMLElement;
  state: HTMLElement;
  figures: HTMLElement;
  watch: HTMLButtonElement;
  close: HTMLButtonElement;
  doing: HTMLElement;
  ending: HTMLElement;
  erasing: HTMLElement;
  erase: HTMLButtonElement;
}

export interface SessionsListener {
  watch(info: SessionInfo): void;
  /** Whether the page's token may close and erase a session. */
  mayChange(id: string): boolean;
  close(id: string): void;
  erase(id: string): void;
}

const ASK_FOR = 4000; // ms that a button waits to be pressed again

export class SessionsList {
  private readonly entries = new Map<string, Entry>();

  constructor(
    private readonly list: HTMLUListElement,
    private readonly none: HTMLElement,
    private readonly listener: SessionsListener,
  ) {}

  /** Says that the service did not answer, so that nobody takes an old list for what runs now. */
  unknown(): void {
    this.none.hidden = false;
    put(this.none, say("The service does not answer: what runs there is not known now."));
    for (const { state, figures } of this.entries.values()) {
      put(state, "");
      put(figures, "");
    }
  }

  /** Shows `sessions`; `awaited`: the name of one that the page watches once it runs. */
  show(sessions: readonly SessionInfo[], watched: string | null, awaited: string | null): void {
    const missing = watched === null && awaited !== null && !sessions.some((info) => info.id === awaited);
    this.none.hidden = sessions.length > 0 && !missing;
    put(this.none, missing ? say("The session {name} does not run. It is shown here once it does.", { name: awaited }) : say("No session is running."));
    for (const id of [...this.entries.keys()]) {
      if (!sessions.some((info) => info.id === id)) {
        this.entries.get(id)?.item.remove();
        this.entries.delete(id);
      }
    }
    for (const info of sessions) {
      let entry = this.entries.get(info.id);
      if (!entry) {
        entry = this.make(info);
        this.entries.set(info.id, entry);
        this.list.append(entry.item);
      }
      const { fps, latency_ms, dropped } = info.figures;
      const lost = Object.entries(dropped).reduce((sum, [reason, n]) => (reason.endsWith("samples") ? sum : sum + n), 0);
      put(entry.source, info.source);
      put(entry.state, translated(info.state));
      entry.state.dataset["state"] = info.state;
      put(entry.figures, say("{fps} fps · {ms} ms · {lost} dropped", { fps: fps.toFixed(0), ms: milliseconds(latency_ms.p50), lost }));
      const here = info.id === watched;
      entry.item.setAttribute("aria-current", String(here));
      entry.watch.disabled = here;
      put(entry.doing, here ? say("Watching") : say("Watch"));
      entry.watch.hidden = info.state === "ended" || info.state === "failed";
      if (entry.close.dataset["asked"] === undefined) put(entry.ending, entry.watch.hidden ? say("Remove") : say("Close"));
      entry.watch.onclick = () => this.listener.watch(info);
      entry.close.hidden = entry.erase.hidden = !this.listener.mayChange(info.id);
    }
  }

  private make(info: SessionInfo): Entry {
    const part = <K extends keyof HTMLElementTagNameMap>(tag: K, name: string): HTMLElementTagNameMap[K] => {
      const element = document.createElement(tag);
      element.className = name;
      return element;
    };
    const entry: Entry = {
      item: document.createElement("li"),
      name: part("span", "session-name"),
      source: part("span", "session-source"),
      state: part("span", "session-state"),
      figures: part("span", "session-figures"),
      watch: part("button", "small"),
      close: part("button", "small danger"),
      doing: document.createElement("span"),
      ending: document.createElement("span"),
      erasing: document.createElement("span"),
      erase: part("button", "small danger"),
    };
    const { erase } = entry;
    entry.name.textContent = info.id;
    const named = document.createElement("span");
    named.className = "visually-hidden";
    named.textContent = ` ${say("session {name}", { name: info.id })}`;
    entry.watch.append(entry.doing, named);
    entry.close.append(entry.ending, named.cloneNode(true));
    entry.erasing.textContent = say("Erase data");
    erase.append(entry.erasing, named.cloneNode(true));
    entry.watch.type = entry.close.type = erase.type = "button";
    erase.onclick = () => {
      const { dataset } = erase;
      const asked = dataset["asked"] !== undefined;
      if (asked) {
        delete dataset["asked"];
        this.listener.erase(info.id);
      } else {
        dataset["asked"] = "";
        setTimeout(() => {
          delete dataset["asked"];
          put(entry.erasing, say("Erase data"));
        }, ASK_FOR);
      }
      put(entry.erasing, asked ? say("Erase data") : say("Erase for everybody?"));
    };
    entry.close.onclick = () => {
      const { dataset } = entry.close;
      if (entry.watch.hidden || dataset["asked"] !== undefined) {
        delete dataset["asked"];
        this.listener.close(info.id);
        return;
      }
      dataset["asked"] = "";
      put(entry.ending, say("Close for everybody?"));
      setTimeout(() => {
        delete dataset["asked"];
      }, ASK_FOR);
    };
    const words = part("div", "session-words");
    words.append(entry.name, entry.state, entry.source, entry.figures);
    const buttons = part("div", "session-buttons");
    buttons.append(entry.watch, erase, entry.close);
    entry.item.append(words, buttons);
    return entry;
  }
}

function put(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
