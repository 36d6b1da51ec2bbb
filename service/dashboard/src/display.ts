// The instrument: takes events, and draws in one loop what changed since the last time round.

import type { Past } from "./api";
import { ACTIVE, Bars } from "./bars";
import { faceLight } from "./crop";
import { csv, download } from "./csv";
import type { ActionUnit, AffectEvent, Face } from "./event";
import { expressionColour } from "./expressions";
import { FaceMap } from "./face_map";
import { Faces } from "./faces";
import { Following } from "./following";
import { AROUSAL, faceAt, Histories, type History, UNITS, VALENCE } from "./history";
import { ACTION_UNITS, EXPRESSIONS } from "./labels";
import { Lanes } from "./lanes";
import { Latency } from "./latency";
import { nameWeights } from "./model_cards";
import { faceName, forgetNames } from "./names";
import { Notes } from "./notes";
import { Overview } from "./overview";
import { find, show, write } from "./page";
import type { Picture, Pictures } from "./pictures";
import { Plane } from "./plane";
import { explainSpread, QualityRail, spread } from "./quality";
import { say, translated } from "./say";
import { clock, Series } from "./series";
import { SessionClock } from "./session_clock";
import { StatusLine } from "./status_line";
import type { Link } from "./stream";
import { Timeline } from "./timeline";
import { View } from "./view";
import { milliseconds, signed, soundWords, status, voiceWords } from "./words";

const RECENT = 32; // events kept to be drawn with their pictures, a second
const TEXT_EVERY = 125; // ms; figures that change faster cannot be read
const CHART_EVERY = 50; // ms
const SLOW_EVERY = 1000; // ms, for what is only ever read at leisure
const ASLEEP_AFTER = 3000; // ms without an event
const QUIETEST = -60; // dB, the left end of the level meter
const MOST_PINNED = 3; // action units drawn as lines

export class Display {
  link: Link = "idle";
  retryAt = 0;
  landmarks = false;
  /** Share of the session's pictures that were dropped lately; NaN where it is not known. */
  lost = NaN;
  readonly clock = new SessionClock();
  readonly drawn = new Latency();

  private pictures: Pictures | null = null;
  private own = false;
  private readonly histories = new Histories();
  private readonly recent: AffectEvent[] = [];
  private last: AffectEvent | null = null;
  private lastAt = -Infinity; // ms, arrival of `last`
  private face: Face | null = null;
  private shift = 0; // s, from the session clock to the time shown, which goes on when the service starts anew
  private resuming = false;
  private newEvent = false;
  private momentDue = true; // plane, bars and face map
  private chartsDue = true;
  private texts = 0; // ms, when last written
  private charts = 0;
  private slow = 0;
  private drawnPicture: Picture | null = null;
  private drawnTime = NaN;
  private drawnEvent = -1;
  private sampled = 0; // ms, when the picture was last looked at for light and small pictures
  private light = NaN;
  private holding = false; // the picture stands still

  private readonly view = new View(find<HTMLCanvasElement>("picture"));
  private readonly plane = new Plane(find<HTMLCanvasElement>("plane"));
  private readonly expressions = new Bars(find("expression-bars"));
  private readonly units = new Bars(find("unit-bars"), (name) => this.pin(name as ActionUnit));
  private readonly pinned = new Set<ActionUnit>();
  private readonly faceMap = new FaceMap(document.getElementById("face-map") as unknown as SVGElement, find("units-missing"));
  private readonly lanes = new Lanes(find<HTMLCanvasElement>("lanes"), (t) => this.goTo(t));
  private readonly overview = new Overview(find<HTMLCanvasElement>("overview"), (range) => this.timeline.pause(range));
  private readonly expressionValues = new Float32Array(EXPRESSIONS.length);
  private unitNames: ActionUnit[] = [];
  private readonly unitValues = new Float32Array(UNITS.length);
  private readonly timeline = new Timeline(() => this.timeChanged());
  private readonly series: Series;
  private readonly following = new Following(find("tracks"), () => this.rechosen());
  private readonly notes = new Notes();
  private readonly status = new StatusLine();
  private readonly rail = new QualityRail(find("quality"));
  private readonly faces = new Faces(() => this.renamed());
  private readonly oneFace = find("one-face");
  private readonly facesTab = find("all-faces");
  private readonly window = find<HTMLSelectElement>("window");

  constructor() {
    this.series = new Series(find("valence-chart"), find("arousal-chart"), {
      zoomed: (range) => this.timeline.pause(range),
      pointed: (t) => this.pointed(t),
      picked: (t) => this.goTo(t),
    });
    this.expressions.shape(EXPRESSIONS, EXPRESSIONS.map((name) => ["", translated(name)] as const), EXPRESSIONS.map(expressionColour));
    this.window.onchange = () => (this.chartsDue = true);
    find("zoom-in").onclick = () => this.timeline.zoom(-1);
    find("zoom-out").onclick = () => this.timeline.zoom(1);
    find("pause").onclick = () => this.togglePause();
    find("export").onclick = () => this.export();
    find("charts").addEventListener("keydown", (key) => this.key(key));
    requestAnimationFrame(this.frame);
  }

  /** Shows `pictures` from now on, with a clean slate. */
  begin(pictures: Pictures, own: boolean): void {
    this.end();
    this.pictures = pictures;
    this.own = own;
  }

  /** The session begins anew, as after the service did; picture and, where it is to `keep`, history stay. */
  restart(keep = true): void {
    this.clock.reset();
    if (!keep) {
      this.histories.clear();
      this.notes.clear();
    }
    this.resuming = this.histories.followed.count > 0;
    this.recent.length = 0;
    this.last = this.face = null;
    this.following.reset();
    forgetNames(); // the tracks of a new session are other people
    this.faces.clear();
    this.drawn.clear();
    this.lastAt = performance.now();
    this.timeline.pause(null);
    this.plane.clear();
    this.view.clear();
    this.drawnPicture = null;
    this.newEvent = this.momentDue = this.chartsDue = true;
  }

  end(): void {
    this.pictures?.stop();
    this.pictures = null;
    this.histories.clear();
    this.notes.clear();
    this.pinned.clear();
    this.unitNames = [];
    this.shift = 0;
    this.restart();
  }

  event(event: AffectEvent): void {
    if (event.marker || event.alert) {
      this.note(event);
      return;
    }
    const now = performance.now();
    if (event.timing_ms) this.clock.heard(event.t, now, event.timing_ms.total);
    if (this.resuming) {
      this.resuming = false;
      const { newest } = this.histories.followed;
      this.histories.push(newest + 0.001, [], null);
      this.shift = newest + (now - this.lastAt) / 1000 - event.t;
    }
    this.last = event;
    this.lastAt = now;
    this.face = this.following.pick(event.faces);
    const { count } = this.histories.session;
    this.histories.push(event.t + this.shift, event.faces, this.face);
    this.recent.push(event);
    if (this.recent.length > RECENT) this.recent.shift();
    this.newEvent = true;
    const live = this.timeline.paused === null; // else only the strip of the whole session changes, once a second
    this.momentDue ||= live;
    this.chartsDue ||= live || this.histories.session.count !== count;
  }

  /** What the session showed before this page came. */
  past(past: Past): void {
    this.histories.past(past.columns, past.rows);
    for (const { t, label } of past.markers ?? []) this.notes.add({ t, label, kind: "marker" });
    for (const { t, rule, status: kind } of past.alerts ?? []) this.notes.add({ t, label: rule, kind });
    this.chartsDue = true;
  }

  /** Takes an event that is a marker or an alert, and is about no picture. */
  private note(event: AffectEvent): void {
    const { marker, alert } = event;
    if (marker) this.notes.add({ t: marker.t + this.shift, label: marker.label, kind: "marker" });
    if (alert) this.notes.add({ t: event.t + this.shift, label: alert.rule, kind: alert.status });
    this.chartsDue = true;
  }

  /** The second of the session's clock that the time cursor stands at; undefined while live. */
  get pointedAt(): number | undefined {
    const { cursor } = this.timeline;
    return cursor === null ? undefined : cursor - this.shift;
  }

  private renamed(): void {
    this.following.renamed(this.last?.faces ?? []);
    this.newEvent = this.momentDue = this.chartsDue = true;
    this.drawnPicture = null;
  }

  get newest(): AffectEvent | null {
    return this.last;
  }

  /** Draws again what is shown, as when another tab is. */
  redraw(): void {
    this.momentDue = this.chartsDue = true;
  }

  /** After a change of theme or size. */
  restyle(): void {
    this.expressions.recolour(EXPRESSIONS.map(expressionColour));
    this.plane.redraw();
    this.view.redraw();
    this.series.restyle();
    this.overview.redraw();
    this.faces.recolour();
    this.chartsDue = true;
  }

  private get history(): History {
    const { chosen } = this.following;
    return (chosen !== null && this.histories.of(chosen)) || this.histories.followed;
  }

  private readonly frame = (now: number): void => {
    requestAnimationFrame(this.frame);
    if (!this.pictures) return;
    const frozen = this.timeline.paused !== null;
    if (!frozen) this.drawPicture(now);
    if (this.momentDue && !this.oneFace.hidden) {
      this.momentDue = false;
      this.drawMoment();
    }
    if (this.newEvent) {
      this.newEvent = false;
      this.drawSound();
    }
    if (this.chartsDue && now - this.charts >= CHART_EVERY) {
      this.charts = now;
      this.chartsDue = false;
      this.drawCharts();
    }
    if (now - this.texts >= TEXT_EVERY) {
      this.texts = now;
      this.writeStatus(now);
      this.writeFigures();
    }
    if (now - this.slow >= SLOW_EVERY) {
      this.slow = now;
      this.writeSlow();
    }
  };

  private drawPicture(now: number): void {
    const pictures = this.pictures as Pictures;
    const event = this.last?.state === "live" && now - this.lastAt < SLOW_EVERY ? this.last : null;
    let picture: Picture | null;
    let about: AffectEvent | null = event;
    if (this.own) {
      const captured = event ? this.clock.captured(event.t) : NaN;
      picture = Number.isNaN(captured) ? pictures.newest() : pictures.at(captured);
    } else {
      picture = event ? pictures.at(event.t) : pictures.newest();
      if (event && picture) about = this.eventAt(picture.time) ?? event;
    }
    if (!picture) return;
    const seq = about?.seq ?? -1;
    if (picture === this.drawnPicture && picture.time === this.drawnTime && seq === this.drawnEvent) return;
    this.drawnPicture = picture;
    this.drawnTime = picture.time;
    this.drawnEvent = seq;
    const { mirrored } = pictures;
    if (about && now - this.sampled > SLOW_EVERY) {
      this.sampled = now;
      const followed = about.faces.find((face) => face.track === this.face?.track);
      this.light = followed ? faceLight(picture, about, followed) : NaN;
      if (!this.facesTab.hidden) this.faces.photograph(picture, about, mirrored);
    }
    this.view.draw({ picture, mirrored, event: about, chosen: this.face?.track ?? null, landmarks: this.landmarks });
  }

  private eventAt(t: number): AffectEvent | null {
    for (let n = this.recent.length - 1; n >= 0; n--) {
      const event = this.recent[n] as AffectEvent;
      if (event.image_size && event.t <= t + 0.0006) return event;
    }
    return null;
  }

  private drawCharts(): void {
    const range = this.timeline.range(this.history.newest);
    const { cursor } = this.timeline;
    // Beyond what is kept of every event there is a row a second of the whole session.
    const old = range.from < this.history.oldest - 1 && this.histories.session.oldest < this.history.oldest - 1;
    const history = old ? this.histories.session : this.history;
    const notes = this.notes.all;
    this.series.draw(history, range, Number(this.window.value), cursor, notes);
    this.lanes.draw(history, range, this.unitNames, this.pinned, cursor, notes);
    this.overview.draw(this.histories.session, range, notes);
    if (!this.facesTab.hidden) this.faces.draw(this.histories, range, cursor, notes);
  }

  /** The faces that plane, bars and units are about: those of the newest event, or of the chosen moment. */
  private moment(): { t: number; face: Face | null; faces: readonly Face[] } {
    const { cursor } = this.timeline;
    if (cursor === null) return { t: (this.last?.t ?? 0) + this.shift, face: this.face, faces: this.last?.faces ?? [] };
    const history = cursor < this.history.oldest ? this.histories.session : this.history;
    const row = Math.min(history.rowAt(cursor), history.count - 1);
    const face = row >= history.first ? faceAt(history, row) : null;
    return { t: cursor, face, faces: face ? [face] : [] };
  }

  private goTo(t: number): void {
    if (!this.timeline.paused) this.timeline.pause(this.timeline.range(this.history.newest));
    this.timeline.point(Math.min(t, this.history.newest));
  }

  togglePause(): void {
    this.timeline.pause(this.timeline.paused ? null : this.timeline.range(this.history.newest));
  }

  toLive(): void {
    this.timeline.pause(null);
  }

  private pin(name: ActionUnit): void {
    if (!this.pinned.delete(name)) {
      if (this.pinned.size >= MOST_PINNED) this.pinned.delete([...this.pinned][0] as ActionUnit);
      this.pinned.add(name);
    }
    this.units.press(this.pinned);
    this.chartsDue = true;
  }

  private drawMoment(): void {
    const { t, face, faces } = this.moment();
    this.plane.draw(t, faces, this.histories, face?.track ?? null);
    const probabilities = face?.expression?.probabilities;
    for (let n = 0; n < EXPRESSIONS.length; n++) {
      this.expressionValues[n] = probabilities?.[EXPRESSIONS[n] as (typeof EXPRESSIONS)[number]] ?? NaN;
    }
    this.expressions.lengths(this.expressionValues);
    if (face && this.unitNames.length === 0) this.nameUnits(face);
    for (let n = 0; n < this.unitNames.length; n++) {
      this.unitValues[n] = face?.aus[this.unitNames[n] as ActionUnit] ?? NaN;
    }
    this.units.lengths(this.unitValues);
    this.faceMap.draw((unit) => face?.aus[unit as ActionUnit] ?? NaN);
  }

  private drawSound(): void {
    const { last } = this;
    if (!last) return;
    const level = (last.state === "live" ? last.audio.level_db : null) ?? QUIETEST;
    find("level").style.transform = `scaleX(${Math.max(0, Math.min(1, 1 - level / QUIETEST)).toFixed(3)})`;
    if (last.timing_ms && this.timeline.cursor === null) {
      const captured = this.own ? this.clock.captured(last.t) : this.lastAt - last.timing_ms.total;
      this.drawn.add(performance.now() - captured);
    }
  }

  private nameUnits(face: Face): void {
    this.unitNames = UNITS.filter((name) => name in face.aus);
    this.units.shape(this.unitNames, this.unitNames.map((name) => [name, translated(ACTION_UNITS[name])] as const));
    this.units.press(this.pinned);
    this.faceMap.name(this.unitNames);
    show(find("no-units"), !this.unitNames.length);
  }

  private writeFigures(): void {
    const { last } = this;
    const { face } = this.moment();
    const { cursor } = this.timeline;
    show(find("moment"), cursor !== null);
    if (cursor !== null) {
      write(find("moment-words"), say("At {time}. Pictures and sound are not kept.", { time: clock(Math.max(0, Number(cursor.toFixed(1)))) }));
    }
    write(find("valence"), signed(face?.valence));
    write(find("arousal"), signed(face?.arousal));
    write(find("valence-std"), spread(face?.std.valence));
    write(find("arousal-std"), spread(face?.std.arousal));
    write(find("baseline-valence"), signed(face?.from_baseline.valence));
    write(find("baseline-arousal"), signed(face?.from_baseline.arousal));
    write(find("expression"), face?.expression ? translated(face.expression.label) : "–");
    this.expressions.figures(
      this.expressionValues,
      face?.expression ? EXPRESSIONS.indexOf(face.expression.label) : -1,
    );
    this.units.figures(this.unitValues, ACTIVE);
    this.following.offer(last?.faces ?? []);
    const audio = this.link !== "lost" && last?.state === "live" ? last.audio : null;
    write(find("sound"), audio && last ? soundWords(last) : "–");
    const level = audio?.level_db;
    write(find("voice-words"), audio && last && cursor === null ? voiceWords(last, this.face) : "");
    this.rail.show(cursor === null ? this.face : null, cursor === null ? this.light : NaN, cursor === null ? this.lost : NaN);
    explainSpread(find("certainty"), face);
    if (!this.facesTab.hidden) {
      this.faces.write((last?.t ?? 0) + this.shift, last?.faces ?? []);
      this.faces.writeMean(this.histories, cursor);
    }
    write(find("level-words"), level === null || level === undefined ? "–" : `${Math.round(level)} dB`.replace("-", "−"));
  }

  private writeStatus(now: number): void {
    const asleep = this.link === "open" && now - this.lastAt > ASLEEP_AFTER;
    const said = status(this.link, (this.retryAt - now) / 1000, this.last, this.face, asleep);
    const lost = this.link === "lost"; // said without the seconds that are left, which change too often to be read out
    const spoken = lost ? say("Reconnecting: the service does not answer, trying again") : said.text;
    this.status.write(said, lost || this.last?.state !== "live", spoken, now);
  }

  private writeSlow(): void {
    const { last, face } = this;
    const faces = last?.faces.length ?? 0;
    find("picture").setAttribute("aria-label", say(faces === 1 ? "Live picture, {faces} face" : "Live picture, {faces} faces", { faces }));
    this.plane.describe(
      face && face.valence !== null
        ? say("{face}: valence {valence}, arousal {arousal}", {
            face: faceName(face.track),
            valence: signed(face.valence),
            arousal: signed(face.arousal),
          })
        : say("Valence and arousal plane: nothing is known now"),
    );
    const drawn = this.drawn.percentiles();
    write(find("drawn"), drawn ? `${milliseconds(drawn[0])} / ${milliseconds(drawn[1])} ms` : "–");
    if (last) {
      show(find("untrained"), !last.model.trained); // of the session's own model, where it chose one
      nameWeights(last.model.weights, last.model.voice);
      write(find("engine"), `${last.model.engine} ${last.model.precision}`);
    }
  }

  private rechosen(): void {
    this.face = this.last ? this.following.pick(this.last.faces) : null;
    this.following.offer(this.last?.faces ?? []);
    this.newEvent = this.momentDue = this.chartsDue = true;
    this.drawnPicture = null;
  }

  private timeChanged(): void {
    const paused = this.timeline.paused !== null;
    if (paused && !this.holding) this.view.hold();
    this.holding = paused;
    const button = find("pause");
    button.setAttribute("aria-pressed", String(paused));
    write(button, say(paused ? "Back to live" : "Pause"));
    write(find("span"), this.timeline.label);
    this.newEvent = this.momentDue = this.chartsDue = true;
    this.texts = 0; // the figures of another moment are written with its bars, in the next frame
  }

  private pointed(t: number | null): void {
    const { history } = this;
    const row = t === null ? history.count : history.rowAt(t);
    for (const [id, column] of [
      ["valence-at", VALENCE],
      ["arousal-at", AROUSAL],
    ] as const) {
      const text =
        row < history.count && t !== null && t >= 0
          ? say("{value} at {time}", { value: signed(history.at(column, row)), time: clock(Number(t.toFixed(1))) })
          : "";
      write(find(id), text);
    }
  }

  private key(key: KeyboardEvent): void {
    const does: Record<string, () => void> = {
      "+": () => this.timeline.zoom(-1),
      "-": () => this.timeline.zoom(1),
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      PageUp: () => this.timeline.move(-0.5),
      PageDown: () => this.timeline.move(0.5),
      Escape: () => this.timeline.pause(null),
    };
    const act = does[key.key];
    if (!act || key.ctrlKey || key.metaKey || key.altKey) return;
    key.preventDefault();
    act();
  }

  /** Moves the time cursor by `seconds`, holding the charts first. */
  private step(seconds: number): void {
    this.goTo((this.timeline.cursor ?? this.history.newest) + seconds);
  }

  private export(): void {
    const { history } = this;
    const range = this.timeline.range(history.newest);
    const name = `affect-${this.last?.session ?? "session"}-${clock(Math.max(0, range.from)).replace(":", "m")}s.csv`;
    // The newest row lies on the edge and belongs to what is shown.
    download(name, csv(history, { from: range.from, to: range.to + 0.001 }));
  }
}
