// What the charts show, as a file, in the columns of `analyze`'s exports that the charts know.

import type { ExpressionName } from "./event";
import { AROUSAL, BASELINE, EXPRESSION, type History, RAW, STD, TRACK, UNIT, UNITS, VALENCE } from "./history";
import { EXPRESSIONS } from "./labels";
import type { Range } from "./series";
import { line } from "./table";
import { AU_THRESHOLD, TABLE_COLUMNS } from "./table_columns";

const COLUMNS: Readonly<Record<string, number>> = {
  face_id: TRACK,
  valence: VALENCE,
  arousal: AROUSAL,
  valence_raw: RAW,
  arousal_raw: RAW + 1,
  valence_std: STD,
  arousal_std: STD + 1,
  valence_from_baseline: BASELINE,
  arousal_from_baseline: BASELINE + 1,
  ...Object.fromEntries(EXPRESSIONS.map((name, n) => [name, EXPRESSION + n])),
  ...Object.fromEntries(UNITS.map((name, n) => [`${name}_p`, UNIT + n])),
};
const PRESENT: readonly string[] = UNITS.map((name) => `${name}_c`);
const NAMES = TABLE_COLUMNS.filter((name) => name in COLUMNS || PRESENT.includes(name) || name === "timestamp" || name === "expression");

/** A header and a line for each row of `range`; unknown is empty. */
export function csv(history: History, range: Range): string {
  const lines = [NAMES.join(",")];
  const end = history.rowAt(range.to);
  for (let row = history.rowAt(range.from); row < end; row++) {
    const cells: Record<string, string | number> = { timestamp: Number(history.time(row).toFixed(3)) };
    for (const [name, column] of Object.entries(COLUMNS)) {
      const value = history.at(column, row);
      if (!Number.isNaN(value)) cells[name] = Number(value.toFixed(4));
    }
    for (const name of UNITS) {
      const probability = cells[`${name}_p`];
      if (probability !== undefined) cells[`${name}_c`] = Number(Number(probability) >= AU_THRESHOLD);
    }
    const leading = leadingExpression(history, row);
    if (leading) cells["expression"] = leading;
    lines.push(line(cells, NAMES));
  }
  return `${lines.join("\n")}\n`;
}

function leadingExpression(history: History, row: number): ExpressionName | null {
  let best: ExpressionName | null = null;
  let most = -1;
  EXPRESSIONS.forEach((name, n) => {
    const value = history.at(EXPRESSION + n, row);
    if (value > most) [best, most] = [name, value];
  });
  return best;
}

/** Gives the user `content` as a file to keep. */
export function download(name: string, content: Blob | string, type = "text/csv"): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(typeof content === "string" ? new Blob([content], { type }) : content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
