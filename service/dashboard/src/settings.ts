// The card of settings: theme, language, the microphone of the camera that this page sends, and what the service decides.

import { find, show, write } from "./page";
import { LANGUAGE_KEY } from "./say";
import { lasting, remember, remembered } from "./storage";
import type { Watching } from "./watching";

export function startSettings(watching: Watching, showHints: () => void): void {
  const card = find<HTMLDialogElement>("settings");
  const language = find<HTMLSelectElement>("language");
  const voice = find<HTMLSelectElement>("voice");
  language.value = remembered(LANGUAGE_KEY) ?? "";
  language.onchange = () => {
    remember(LANGUAGE_KEY, language.value);
    show(find("language-note"), true);
    show(find("storage-note"), !lasting);
  };
  voice.onchange = () => watching.hear(voice.value === "on");
  find("theme").addEventListener("change", () => show(find("storage-note"), !lasting));
  find("show-hints").onclick = () => {
    showHints();
    card.close();
  };
  find("open-settings").onclick = () => {
    voice.disabled = !watching.hasMicrophone;
    show(find("voice-note"), voice.disabled);
    show(find("storage-note"), !lasting);
    write(find("settings-model"), find("model").textContent ?? "–");
    card.showModal();
  };
}
