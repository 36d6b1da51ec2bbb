// The tab of all faces: a card for each person with a small picture, a name to change and the main numbers, and below
// them everybody's valence and arousal over time with the mean of the group.

import { drawFace } from "./crop";
import type { AffectEvent, Face } from "./event";
import { GroupChart } from "./group_chart";
import { AROUSAL, type Histories, VALENCE } from "./history";
import { faceName, rename } from "./names";
import type { Note } from "./notes";
import { find, show, write } from "./page";
import type { Picture } from "./pictures";
import { say, translated } from "./say";
import { clock, type Range } from "./series";
import { trackColour } from "./theme";
import { faceStatus, signed } from "./words";

const MOST = 8; // cards: as many as have a history
const FORGOTTEN = 60; // s after which the card of a face that is gone makes room
const PICTURE = 96; // pixels a side

interface Card {
  item: HTMLLIElement;
  thumbnail: CanvasRenderingContext2D;
  name: HTMLInputElement;
  expression: HTMLElement;
  valence: HTMLElement;
  arousal: HTMLElement;
  status: HTMLElement;
  seen: number; // s of the time shown
}

export class Faces {
  private readonly cards = new Map<number, Card>();
  private readonly list = find("face-cards");
  private readonly charts = [
    new GroupChart(find<HTMLCanvasElement>("group-valence"), VALENCE),
    new GroupChart(find<HTMLCanvasElement>("group-arousal"), AROUSAL),
  ];

  /** `renamed`: a face has another name. */
  constructor(private readonly renamed: () => void) {}

  clear(): void {
    this.cards.clear();
    this.list.replaceChildren();
    show(find("no-cards"), true);
  }

  /** The numbers of `faces` at second `t`, or of those in view then. */
  write(t: number, faces: readonly Face[]): void {
    for (const face of faces) {
      const card = this.cards.get(face.track) ?? this.make(face.track);
      card.seen = t;
      write(card.expression, face.expression ? translated(face.expression.label) : "–");
      write(card.valence, signed(face.valence));
      write(card.arousal, signed(face.arousal));
      write(card.status, faceStatus(face));
      card.item.dataset["read"] = String(face.status === "ok" || face.status === "warming_up");
    }
    for (const [track, card] of this.cards) {
      if (faces.some((face) => face.track === track)) continue;
      if (t - card.seen > FORGOTTEN) this.drop(track);
      else write(card.status, say("Not in view since {time}", { time: clock(Math.max(0, Math.floor(card.seen))) }));
      card.item.dataset["read"] = "false";
    }
    show(find("no-cards"), this.cards.size === 0);
  }

  /** Cuts the small pictures out of `picture`, in which `event` found its faces. */
  photograph(picture: Picture, event: AffectEvent, mirrored: boolean): void {
    for (const face of event.faces) {
      const card = this.cards.get(face.track);
      if (card && face.status !== "held") drawFace(card.thumbnail, PICTURE, picture, event, face, mirrored);
    }
  }

  draw(histories: Histories, range: Range, cursor: number | null, notes: readonly Note[]): void {
    for (const chart of this.charts) chart.draw(histories, [...this.cards.keys()], range, cursor, notes);
  }

  /** Writes the mean of everybody now, or at the second `cursor`. */
  writeMean({ group }: Histories, cursor: number | null): void {
    const row = cursor === null ? group.count - 1 : Math.min(group.rowAt(cursor), group.count - 1);
    write(
      find("group-mean"),
      row >= group.first
        ? say("valence {valence}, arousal {arousal}", {
            valence: signed(group.at(VALENCE, row)),
            arousal: signed(group.at(AROUSAL, row)),
          })
        : "–",
    );
  }

  /** Gives the cards the colours of another theme. */
  recolour(): void {
    for (const [track, card] of this.cards) card.item.style.setProperty("--track", trackColour(track));
    for (const chart of this.charts) chart.redraw();
  }

  private drop(track: number): void {
    this.cards.get(track)?.item.remove();
    this.cards.delete(track);
  }

  private make(track: number): Card {
    if (this.cards.size >= MOST) {
      const [longest] = [...this.cards].sort((a, b) => a[1].seen - b[1].seen);
      if (longest) this.drop(longest[0]);
    }
    const part = <K extends keyof HTMLElementTagNameMap>(tag: K, name: string, parent: HTMLElement): HTMLElementTagNameMap[K] => {
      const element = document.createElement(tag);
      element.className = name;
      parent.append(element);
      return element;
    };
    const item = document.createElement("li");
    item.style.setProperty("--track", trackColour(track));
    const picture = part("canvas", "card-picture", item);
    picture.width = picture.height = PICTURE;
    picture.setAttribute("aria-hidden", "true");
    const words = part("div", "card-words", item);
    const name = part("input", "card-name", words);
    name.type = "text";
    name.maxLength = 40;
    name.value = faceName(track);
    name.autocomplete = "off";
    name.setAttribute("aria-label", say("Name of face {track}", { track }));
    name.onchange = () => {
      rename(track, name.value);
      name.value = faceName(track);
      this.renamed();
    };
    const expression = part("p", "card-expression", words);
    const status = part("p", "card-status soft", words);
    const figures = part("dl", "card-figures", item);
    const figure = (label: string): HTMLElement => {
      const row = part("div", "", figures);
      part("dt", "", row).textContent = label;
      return part("dd", "", row);
    };
    const card: Card = {
      item,
      thumbnail: picture.getContext("2d") as CanvasRenderingContext2D,
      name,
      expression,
      status,
      valence: figure(say("Valence")),
      arousal: figure(say("Arousal")),
      seen: 0,
    };
    this.cards.set(track, card);
    const after = [...this.cards.keys()].filter((other) => other > track).sort((a, b) => a - b)[0];
    this.list.insertBefore(item, after === undefined ? null : (this.cards.get(after)?.item ?? null));
    return card;
  }
}
