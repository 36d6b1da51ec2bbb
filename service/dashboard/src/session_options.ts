// What sessions that this page opens are to have: the model and how calm the numbers are; the service's own choice without.

import { loadedModels } from "./api";
import { find, write } from "./page";
import { say } from "./say";
import { remember, remembered } from "./storage";

const MODEL = "affectstream-model";
const SMOOTHING = "affectstream-smoothing";

export interface SessionOptions {
  model?: string;
  smoothing?: string;
}

/** What the user chose; nothing of what is left to the service. */
export function chosenOptions(): SessionOptions {
  const model = remembered(MODEL);
  const smoothing = remembered(SMOOTHING);
  return { ...(model ? { model } : {}), ...(smoothing ? { smoothing } : {}) };
}

/** Makes the two lists of the settings work. */
export function startSessionOptions(): void {
  const models = find<HTMLSelectElement>("session-model");
  const smoothing = find<HTMLSelectElement>("session-smoothing");
  smoothing.value = remembered(SMOOTHING) ?? "";
  smoothing.onchange = () => remember(SMOOTHING, smoothing.value);
  models.onchange = () => remember(MODEL, models.value);
  find("open-settings").addEventListener("click", () => void listModels(models));
}

async function listModels(models: HTMLSelectElement): Promise<void> {
  const { available } = await loadedModels().catch(() => ({ available: [] as string[] }));
  const [own, ...others] = available;
  const known = remembered(MODEL) ?? "";
  models.length = 1;
  for (const name of others) models.append(new Option(name, name));
  models.value = others.includes(known) ? known : "";
  if (models.value !== known) remember(MODEL, ""); // it cannot be had any more
  write(find("session-model-note"), own === undefined ? "" : say("Without a choice: {model}.", { model: own }));
}
