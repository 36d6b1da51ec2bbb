// Rows of bars that are made once and only ever change their lengths and figures.

interface Row {
  row: HTMLElement;
  fill: HTMLElement;
  figure: HTMLElement;
  shown: number; // last drawn, NaN for none
  text: string;
}

export class Bars {
  private rows: Row[] = [];
  private names: readonly string[] = [];

  /** `list` gets a row for each name; `picked`: its name was pressed, where rows can be. */
  constructor(
    private readonly list: HTMLElement,
    private readonly picked?: (name: string) => void,
  ) {}

  /** `labels`: what a row is called, in the order of `names`; nothing is made anew while the names stay. */
  shape(names: readonly string[], labels: readonly (readonly [string, string])[], colours?: readonly string[]): void {
    if (names.length === this.names.length && names.every((name, n) => name === this.names[n])) return;
    this.names = names;
    this.rows = labels.map(([code, name], n) => {
      const row = document.createElement("li");
      const label = document.createElement(this.picked ? "button" : "span");
      label.className = "name";
      if (label instanceof HTMLButtonElement) {
        label.type = "button";
        label.setAttribute("aria-pressed", "false");
        label.onclick = () => this.picked?.(names[n] as string);
      }
      if (colours) {
        const swatch = document.createElement("i");
        swatch.className = "swatch";
        swatch.style.background = colours[n] as string;
        label.append(swatch);
      }
      if (code) {
        const short = document.createElement("b");
        short.textContent = code;
        label.append(short, " ");
      }
      label.append(name);
      const track = document.createElement("span");
      track.className = "track";
      track.setAttribute("aria-hidden", "true");
      const fill = document.createElement("i");
      track.append(fill);
      const figure = document.createElement("span");
      figure.className = "figure";
      row.append(label, track, figure);
      return { row, fill, figure, shown: -1, text: "" };
    });
    this.list.replaceChildren(...this.rows.map(({ row }) => row));
  }

  /** Gives the rows the colours of another theme. */
  recolour(colours: readonly string[]): void {
    this.rows.forEach(({ row }, n) => {
      const swatch = row.querySelector<HTMLElement>(".swatch");
      if (swatch) swatch.style.background = colours[n] as string;
    });
  }

  /** Marks the rows of `names` as pressed. */
  press(pressed: ReadonlySet<string>): void {
    this.rows.forEach(({ row }, n) => {
      row.querySelector("button")?.setAttribute("aria-pressed", String(pressed.has(this.names[n] as string)));
    });
  }

  /** `values`: 0 to 1, NaN where unknown. */
  lengths(values: ArrayLike<number>): void {
    for (let n = 0; n < this.rows.length; n++) {
      const row = this.rows[n] as Row;
      const value = values[n] ?? NaN;
      const length = Number.isNaN(value) ? 0 : Math.round(value * 500) / 500;
      if (length === row.shown) continue;
      row.shown = length;
      row.fill.style.transform = `scaleX(${length})`;
    }
  }

  /** The figures and which row is the strongest; less often than the lengths, so that they can be read. */
  figures(values: ArrayLike<number>, strongest: number): void {
    for (let n = 0; n < this.rows.length; n++) {
      const row = this.rows[n] as Row;
      const value = values[n] ?? NaN;
      const text = Number.isNaN(value) ? "–" : `${Math.round(value * 100)}`;
      if (text !== row.text) row.figure.textContent = row.text = text;
      const top = n === strongest || (strongest === ACTIVE && value >= 0.5);
      if (row.row.classList.contains("top") !== top) row.row.classList.toggle("top", top);
    }
  }
}

/** For `figures`: every row from one half on is strong. */
export const ACTIVE = -2;
