// What the charts show, as a file.

import { AROUSAL, EXPRESSION, type History, MEAN, RAW, STD, TRACK, UNIT, UNITS, VALENCE, WINDOWS } from "./history";
import { EXPRESSIONS } from "./labels";
import type { Range } from "./series";

const PAIRS: readonly (readonly [string, number])[] = [
  ["", VALENCE],
  ["raw_", RAW],
  ["std_", STD],
  ...WINDOWS.map((window, w) => [`mean_${window}_`, MEAN + 2 * w] as const),
];

const COLUMNS: readonly (readonly [string, number])[] = [
  ["track", TRACK],
  ...PAIRS.flatMap(([prefix, column]) => [
    [`${prefix}valence`, column] as const,
    [`${prefix}arousal`, column + AROUSAL] as const,
  ]),
  ...EXPRESSIONS.map((name, n) => [name, EXPRESSION + n] as const),
  ...UNITS.map((name, n) => [name, UNIT + n] as const),
];

/** A header and a line for each row of `range`; unknown is empty. */
export function csv(history: History, range: Range): string {
  const lines = [["t", ...COLUMNS.map(([name]) => name)].join(",")];
  const end = history.rowAt(range.to);
  for (let row = history.rowAt(range.from); row < end; row++) {
    const cells = [history.time(row).toFixed(3)];
    for (const [, column] of COLUMNS) {
      const value = history.at(column, row);
      cells.push(Number.isNaN(value) ? "" : String(Number(value.toFixed(4))));
    }
    lines.push(cells.join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}

/** Gives the user `text` as a file to keep. */
export function download(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
