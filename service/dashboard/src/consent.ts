// Before anybody is read: what is measured, what it does not mean, and what it is for. Nothing is asked of the browser,
// and nothing is sent, until the user agrees.

import { PURPOSES } from "./labels";
import { find, show, write } from "./page";
import { say, type Text, translated } from "./say";

type Kind = "camera" | "clip" | "address";

const TITLES: Readonly<Record<Kind, Text>> = {
  camera: "Before the camera starts",
  clip: "Before the file is read",
  address: "Before that camera is read",
};
const AGREE: Readonly<Record<Kind, Text>> = {
  camera: "Start the camera",
  clip: "Read the file",
  address: "Open the camera",
};
const OTHER = "other";

/** Shows the card; gives the purpose once the user agrees, and null if not. */
export function consent(kind: Kind): Promise<string | null> {
  const card = find<HTMLDialogElement>("consent");
  const purpose = find<HTMLSelectElement>("purpose");
  const text = find<HTMLInputElement>("purpose-text");
  if (purpose.options.length === 1) {
    for (const [name, meaning] of Object.entries(PURPOSES)) purpose.append(new Option(`${translated(name)}: ${translated(meaning)}`, name));
  }
  const other = (): void => {
    text.required = purpose.value === OTHER;
    show(find("purpose-words"), text.required);
  };
  purpose.onchange = other;
  other();
  write(find("consent-title"), say(TITLES[kind]));
  write(find("agree"), say(AGREE[kind]));
  show(find("consent-microphone"), kind === "camera");
  find("not-now").onclick = () => card.close("no");
  return new Promise((resolve) => {
    card.returnValue = "";
    card.addEventListener(
      "close",
      () => {
        const said = purpose.value === OTHER ? `${OTHER}: ${text.value}` : purpose.value;
        resolve(card.returnValue === "agree" ? said : null);
      },
      { once: true },
    );
    card.showModal();
  });
}
