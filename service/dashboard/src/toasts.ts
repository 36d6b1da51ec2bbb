// Short messages about what just happened. A status region reads them out.

import { find } from "./page";
import { say } from "./say";

const SHOWN = 8000; // ms
const MOST = 4;

export function toast(text: string, tone: "plain" | "good" | "bad" = "plain"): void {
  const region = find("toasts");
  const message = document.createElement("p");
  message.dataset["tone"] = tone;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet small";
  close.textContent = "×";
  close.setAttribute("aria-label", say("Close this message"));
  close.onclick = () => message.remove();
  message.append(text, close);
  region.append(message);
  while (region.childElementCount > MOST) region.firstElementChild?.remove();
  setTimeout(() => message.remove(), SHOWN);
}
