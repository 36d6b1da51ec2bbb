// Explains valence, arousal and units beside them, until the user has read it once.

import { show } from "./page";
import { remember, remembered } from "./storage";

const KEY = "affectstream-hints";
const READ = "read";

/** Shows what was not read yet, but never where `quiet`; what it returns shows it again. */
export function startHints(quiet: boolean): () => void {
  const hints = [...document.querySelectorAll<HTMLElement>(".hint")];
  const all = (shown: boolean): void => hints.forEach((hint) => show(hint, shown));
  for (const button of document.querySelectorAll<HTMLElement>(".got-it")) {
    button.onclick = () => {
      all(false);
      remember(KEY, READ);
    };
  }
  all(!quiet && remembered(KEY) !== READ);
  return () => all(true);
}
