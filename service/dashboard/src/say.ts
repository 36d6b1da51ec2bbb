// The page's language. English stands in the page and in the code; other languages are catalogues of its sentences.

import { GERMAN, type Text } from "./german";
import { remembered } from "./storage";

export type { Text };
export type Language = "en" | "de";

export const LANGUAGE_KEY = "affectstream-language"; // of the user's choice
const CATALOGUES: Readonly<Record<Language, Readonly<Record<string, string>> | null>> = { en: null, de: GERMAN };
const ATTRIBUTES = ["aria-label", "placeholder", "title"];

function chosen(): Language {
  const wanted = new URLSearchParams(location.search).get("lang") || remembered(LANGUAGE_KEY);
  for (const tag of wanted ? [wanted] : navigator.languages) {
    const language = tag.slice(0, 2).toLowerCase();
    if (language in CATALOGUES) return language as Language;
  }
  return "en";
}

/** The language of this page, from its loading on: the address's `lang`, else the user's choice, else the browser's. */
export const language: Language = chosen();

/** `text` in the page's language, with `{name}` replaced by `values.name`. */
export function say(text: Text, values: Readonly<Record<string, string | number>> = {}): string {
  return translated(text).replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** `text` in the page's language where the catalogue has it, as for names of expressions and units; else as it is. */
export function translated(text: string): string {
  return CATALOGUES[language]?.[text] ?? text;
}

/** Puts what stands in the page into its language. */
export function translatePage(): void {
  document.documentElement.lang = language;
  if (language === "en") return;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.textContent ?? "";
    const core = text.trim();
    if (core) node.textContent = text.replace(core, () => translated(core.replace(/\s+/g, " ")));
  }
  for (const name of ATTRIBUTES) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      element.setAttribute(name, translated(element.getAttribute(name) as string));
    }
  }
}
