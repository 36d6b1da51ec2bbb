// One colour for each expression, after Okabe and Ito 2008, so that ribbon and bars agree; neutral is the quiet one.

import type { ExpressionName } from "./event";
import { isDark } from "./theme";

const LIGHT: Readonly<Record<ExpressionName, string>> = {
  neutral: "#b9bdc0",
  anger: "#c8421f",
  disgust: "#00785a",
  fear: "#7a4fb0",
  happiness: "#e0a100",
  sadness: "#2370ad",
  surprise: "#c25d95",
};

const DARK: Readonly<Record<ExpressionName, string>> = {
  neutral: "#5d656b",
  anger: "#ff8552",
  disgust: "#2fc79b",
  fear: "#b69af0",
  happiness: "#f0c429",
  sadness: "#56b4e9",
  surprise: "#f092c4",
};

export function expressionColour(name: ExpressionName): string {
  return (isDark() ? DARK : LIGHT)[name];
}
