// The names of the weights that read face and voice. Each leads to its model card.

import { address } from "./api";
import { find, show, write } from "./page";

/** Shows which weights read the face, and which the voice where it is read. */
export function nameWeights(face: string, voice?: string | null): void {
  lead(find<HTMLAnchorElement>("model"), face);
  lead(find<HTMLAnchorElement>("voice-model"), voice ?? "");
}

function lead(link: HTMLAnchorElement, weights: string): void {
  show(link, weights !== "");
  if (link.textContent === weights || weights === "") return;
  write(link, weights);
  link.href = address(`/v1/models/${encodeURIComponent(weights)}/card`);
}
