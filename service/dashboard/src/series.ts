// Valence and arousal over time: raw, smoothed, window mean, and the band of uncertainty, in two charts on one clock.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { type History, AROUSAL, MEAN, RAW, STD, VALENCE } from "./history";
import { drawNotes, type Note } from "./notes";
import { colours, rem } from "./theme";

const MOST_POINTS = 900; // of one line; longer spans take every second, third … row
const [UPPER, LOWER, RAW_LINE, MEAN_LINE, SMOOTH] = [1, 2, 3, 4, 5];
const LINES = 6; // with x

type Column = (number | null)[];

export interface Range {
  from: number;
  to: number;
}

export interface SeriesListener {
  /** The user marked a range of seconds with the mouse. */
  zoomed(range: Range): void;
  /** The mouse stands at that second, or nowhere. */
  pointed(t: number | null): void;
  /** The user clicked that second. */
  picked(t: number): void;
}

export class Series {
  private charts: { chart: uPlot; data: Column[]; base: number; host: HTMLElement }[] = [];
  private pointing = false;
  private type = 0; // px of 1 rem that the charts were made for
  private cursor: number | null = null;
  private notes: readonly Note[] = [];

  constructor(
    private readonly valence: HTMLElement,
    private readonly arousal: HTMLElement,
    private readonly listener: SeriesListener,
  ) {
    for (const host of [valence, arousal]) {
      new ResizeObserver(() => {
        for (const chart of this.charts) if (chart.host === host) resize(chart.chart, host);
      }).observe(host);
    }
    this.restyle();
  }

  /** Draws `range` of `history`; `window`: index of the window whose mean is shown; `cursor`: a second that is marked. */
  draw(history: History, range: Range, window: number, cursor: number | null, notes: readonly Note[]): void {
    this.cursor = cursor;
    this.notes = notes;
    const first = Math.max(history.first, history.rowAt(range.from) - 1);
    const last = Math.min(history.count, history.rowAt(range.to) + 1);
    const stride = Math.max(1, Math.ceil((last - first) / MOST_POINTS));
    const start = first + ((stride - (first % stride)) % stride); // the same rows each time: nothing flickers
    for (const { chart, data, base } of this.charts) {
      let n = 0;
      const put = (line: number, value: number): void => {
        (data[line] as Column)[n] = Number.isNaN(value) ? null : value;
      };
      for (let row = start; row < last; row += stride, n++) {
        const smooth = history.at(base, row);
        const std = history.at(STD + base, row);
        put(0, history.time(row));
        put(UPPER, Math.min(1, smooth + std));
        put(LOWER, Math.max(-1, smooth - std));
        put(RAW_LINE, history.at(RAW + base, row));
        put(MEAN_LINE, history.at(MEAN + 2 * window + base, row));
        put(SMOOTH, smooth);
      }
      for (const column of data) column.length = n;
      chart.batch(() => {
        chart.setData(data as uPlot.AlignedData, false);
        chart.setScale("x", { min: range.from, max: range.to });
      });
    }
  }

  /** After a change of theme or size of type, which uPlot measures only once. */
  restyle(): void {
    if (this.type !== rem) {
      this.type = rem;
      for (const { chart } of this.charts) chart.destroy();
      this.charts = [this.make(this.valence, VALENCE), this.make(this.arousal, AROUSAL)];
    }
    for (const { chart } of this.charts) chart.redraw(false, true);
  }

  /** Draws markers and alerts, and the line of the time cursor. */
  private mark(chart: uPlot): void {
    const { min = 0, max = 0 } = chart.scales["x"] ?? {};
    const box = { top: chart.bbox.top, height: chart.bbox.height };
    const place = (t: number): number => chart.valToPos(t, "x", true);
    drawNotes(chart.ctx, this.notes, { from: min, to: max }, place, box, chart === this.charts[0]?.chart, devicePixelRatio);
    if (this.cursor === null) return;
    const x = chart.valToPos(this.cursor, "x", true);
    const { ctx, bbox } = chart;
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    ctx.save();
    ctx.strokeStyle = colours.ink;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }

  private make(host: HTMLElement, base: number): (typeof this.charts)[number] {
    const { listener } = this;
    const colour = (): string => (base === VALENCE ? colours.valence : colours.arousal);
    const line = (width: number, alpha: string, dash?: number[]): uPlot.Series => ({
      stroke: () => colour() + alpha,
      width: (width * rem) / 15,
      points: { show: false },
      ...(dash ? { dash } : {}),
    });
    const hidden: uPlot.Series = { stroke: "transparent", width: 0, points: { show: false } };
    const series: uPlot.Series[] = [{}, hidden, { ...hidden }];
    series[RAW_LINE] = line(1, "80");
    series[MEAN_LINE] = { ...line(1.25, "", [2, 4]), stroke: () => colours.ink };
    series[SMOOTH] = line(2, "");
    const axis = { stroke: () => colours.soft, font: font(), ticks: { show: false } };
    const options: uPlot.Options = {
      width: 300,
      height: 120,
      legend: { show: false },
      padding: [0.5 * rem, PLOT_RIGHT * rem, 0, 0],
      cursor: {
        sync: { key: "affect", setSeries: false },
        drag: { x: true, y: false, setScale: false },
        points: { size: 7, fill: () => colour(), stroke: () => colours.panel, show: (_, n) => (n === SMOOTH ? dot() : empty()) },
        y: false,
      },
      scales: { x: { time: false }, y: { range: [-1, 1] } },
      axes: [
        {
          ...axis,
          size: 1.9 * rem,
          space: 5 * rem,
          grid: { stroke: () => colours.line, width: 1 },
          // At the right edge half of a label would be cut off.
          values: (chart, splits) => splits.map((t) => (t < 0 || chart.valToPos(t, "x") > chart.width - (PLOT_LEFT + 1.2) * rem ? "" : clock(t))),
        },
        {
          ...axis,
          size: PLOT_LEFT * rem,
          splits: [-1, -0.5, 0, 0.5, 1],
          grid: { stroke: () => colours.line, width: 1 },
          values: (_, splits) => splits.map((x) => (x % 1 === 0 ? `${x > 0 ? "+" : x < 0 ? "−" : ""}${Math.abs(x)}` : "")),
        },
      ],
      series,
      bands: [{ series: [UPPER, LOWER], fill: () => `${colour()}26` }],
      hooks: {
        draw: [(chart) => this.mark(chart)],
        setSelect: [
          (chart) => {
            const { left, width } = chart.select;
            if (width < 8) {
              if (chart.cursor.left !== undefined && chart.cursor.left >= 0) listener.picked(chart.posToVal(chart.cursor.left, "x"));
              return;
            }
            listener.zoomed({ from: chart.posToVal(left, "x"), to: chart.posToVal(left + width, "x") });
            chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          },
        ],
        setCursor: [
          (chart) => {
            const left = chart.cursor.left ?? -1;
            if (left < 0 && !this.pointing) return;
            this.pointing = left >= 0;
            listener.pointed(left < 0 ? null : chart.posToVal(left, "x"));
          },
        ],
      },
    };
    const data: Column[] = Array.from({ length: LINES }, () => []);
    const chart = new uPlot(options, data as uPlot.AlignedData, host);
    chart.root.setAttribute("aria-hidden", "true"); // the figures beside it say it in words
    resize(chart, host);
    return { chart, data, base, host };
  }
}

/** Where the plots of valence, arousal and the lanes below them begin, in rem from their left edge. */
export const PLOT_LEFT = 3;
export const PLOT_RIGHT = 0.5;

/** Seconds of the session clock, 0 or more, as minutes and seconds. */
export function clock(t: number): string {
  const seconds = t % 60;
  const shown = Number.isInteger(t) ? String(seconds).padStart(2, "0") : seconds.toFixed(1).padStart(4, "0");
  return `${Math.floor(t / 60)}:${shown}`;
}

// uPlot reads whole pixels only: of "12.48px" it would take 48.
const font = (): string => `${Math.round(0.78 * rem)}px system-ui, sans-serif`;

function resize(chart: uPlot, host: HTMLElement): void {
  const { width, height } = host.getBoundingClientRect();
  if (width && height && (chart.width !== Math.floor(width) || chart.height !== Math.floor(height))) {
    chart.setSize({ width: Math.floor(width), height: Math.floor(height) });
  }
}

function dot(): HTMLElement {
  return document.createElement("div");
}

function empty(): HTMLElement {
  const point = document.createElement("div");
  point.hidden = true;
  return point;
}
