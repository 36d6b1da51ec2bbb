// The card of alerts: the rules of the session that is watched, and a form that adds one.

import { type Rule, sessionRules, setRules } from "./api";
import { UNITS } from "./history";
import { ACTION_UNITS, EXPRESSIONS } from "./labels";
import { find, show, write } from "./page";
import { say, translated } from "./say";
import { sentence } from "./words";

const NO_FACE = "no_face"; // the value that is compared with nothing
const ASK_EVERY = 2000; // ms; what the model gives is known once it has read a face for a second

export class Alerts {
  private rules: readonly Rule[] = [];
  private shown = ""; // the rules that stand in the list
  private timer = 0;
  private readonly card = find<HTMLDialogElement>("alerts");
  private readonly value = find<HTMLSelectElement>("rule-value");
  private readonly threshold = find<HTMLInputElement>("rule-threshold");
  private readonly seconds = find<HTMLInputElement>("rule-seconds");
  private readonly name = find<HTMLInputElement>("rule-name");

  /** `session`: the one that is watched; `mayChange`: whether the page's token may set the rules of a session. */
  constructor(
    private readonly session: () => string | null,
    private readonly mayChange: (session: string) => boolean,
  ) {
    const option = (value: string, text: string): HTMLOptionElement => new Option(text, value);
    this.value.append(
      option("valence", say("Valence")),
      option("arousal", say("Arousal")),
      option(NO_FACE, say("No face in view")),
      option("occluded", say("Covered")),
      ...EXPRESSIONS.map((name) => option(name, translated(name))),
      ...UNITS.map((name) => option(name, `${name} ${translated(ACTION_UNITS[name])}`)),
    );
    this.value.onchange = () => this.shape();
    find("open-alerts").onclick = () => void this.open();
    this.card.onclose = () => clearInterval(this.timer);
    find<HTMLFormElement>("rule-form").onsubmit = (submit) => {
      submit.preventDefault();
      void this.put([...this.texts(), this.written()]);
    };
  }

  private async open(): Promise<void> {
    this.complain("");
    this.list([]);
    this.card.showModal();
    this.timer = window.setInterval(() => void this.refresh().catch(() => undefined), ASK_EVERY);
    try {
      await this.refresh();
    } catch (error) {
      this.complain(problem(error));
    }
  }

  private async refresh(): Promise<void> {
    const id = this.session();
    if (id !== null) this.list(await sessionRules(id));
  }

  /** Hides what a lost face is not compared with. */
  private shape(): void {
    const compared = this.value.value !== NO_FACE;
    show(find("rule-comparison-label"), compared);
    show(find("rule-threshold-label"), compared);
  }

  private written(): string {
    const value = this.value.value;
    const comparison = find<HTMLSelectElement>("rule-comparison").value;
    const limit = value === NO_FACE ? "" : ` ${comparison} ${decimal(this.threshold)}`;
    const name = this.name.value.trim().replace(/[^\w-]+/g, "_");
    return `${name ? `${name}: ` : ""}${value}${limit} for ${decimal(this.seconds) || "0"} s`;
  }

  private texts(): string[] {
    return this.rules.map(({ name, condition }) => `${name}: ${condition}`);
  }

  private async put(rules: readonly string[]): Promise<void> {
    const id = this.session();
    if (id === null) return;
    try {
      this.list(await setRules(id, rules));
      this.complain("");
      this.name.value = "";
    } catch (error) {
      this.complain(problem(error));
    }
  }

  private complain(problem: string): void {
    const place = find("rule-problem");
    write(place, sentence(problem));
    show(place, problem !== "");
  }

  private list(rules: readonly Rule[]): void {
    const mayChange = this.mayChange(this.session() ?? "");
    const shown = JSON.stringify([rules, mayChange]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.rules = rules;
    show(find("no-rules"), rules.length === 0);
    find("rules").replaceChildren(
      ...rules.map((rule) => {
        const item = document.createElement("li");
        const words = document.createElement("span");
        const name = document.createElement("b");
        name.textContent = rule.name;
        words.append(name, ` ${rule.condition}`);
        const remove = document.createElement("button");
        remove.type = "button";
        remove.className = "small";
        remove.textContent = say("Remove");
        remove.setAttribute("aria-label", say("Remove the rule {name}", { name: rule.name }));
        remove.onclick = () => void this.put(this.texts().filter((_, n) => this.rules[n] !== rule));
        item.append(words, ...(mayChange ? [remove] : []));
        if (rule.problem !== null) {
          const why = document.createElement("p");
          why.className = "problem";
          why.textContent = say("The model does not give {value}: this rule never raises an alert.", { value: rule.value });
          item.append(why);
        }
        return item;
      }),
    );
  }
}

const decimal = (input: HTMLInputElement): string => input.value.trim().replace(",", ".");

function problem(error: unknown): string {
  return error instanceof TypeError ? say("the service does not answer") : (error as Error).message;
}
