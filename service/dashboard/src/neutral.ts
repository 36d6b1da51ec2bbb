// The neutral step: the people in view look neutral for ten seconds, and their numbers are compared with that from then on.

import { beginNeutralStep } from "./api";
import type { SessionInfo } from "./event";
import { find, show, write } from "./page";
import { say } from "./say";
import { toast } from "./toasts";

const SHOWN_FOR = 8000; // ms that the result stays

export class NeutralButton {
  private readonly button = find<HTMLButtonElement>("neutral-step");
  private readonly words = find("neutral-words");
  private hideAt = 0;
  private running = false;
  private endsAt = 0; // ms, of the step that was begun last
  private told = false; // the session's figures have told of that step

  /** `session` gives the one that is watched; `attempt` runs what the button asks for, and says what went wrong. */
  constructor(session: () => string | null, attempt: (button: HTMLButtonElement, action: () => Promise<void>) => Promise<void>) {
    this.button.onclick = () => {
      const name = session();
      if (name === null) return;
      const begun = attempt(this.button, async () => {
        const step = await beginNeutralStep(name);
        this.endsAt = performance.now() + 1000 * (step?.left_s ?? 0);
        this.told = false;
        this.say(step);
        toast(this.words.textContent ?? ""); // read out once; the seconds that count down are not
      });
      void begun.then(() => (this.button.disabled = this.running)); // `attempt` gives the button back too early
    };
  }

  /** Takes what the service says of the session that is watched, once a second. */
  update(info: SessionInfo | undefined): void {
    const step = info?.figures.neutral ?? null;
    const runs = step?.state === "running";
    const older = info !== undefined && this.running && !this.told && !runs && performance.now() < this.endsAt;
    if (older) return; // figures of a worker are up to a second old: they show what was before the step
    this.told ||= runs;
    if (runs || this.running) this.say(step);
    else if (performance.now() > this.hideAt) show(this.words, false);
  }

  private say(step: SessionInfo["figures"]["neutral"]): void {
    this.running = step?.state === "running";
    this.button.disabled = this.running;
    if (step === null) return show(this.words, false);
    if (step.state === "running") {
      write(this.words, say("Look neutral, please: {seconds} s", { seconds: Math.ceil(step.left_s) }));
    } else {
      this.hideAt = performance.now() + SHOWN_FOR;
      const done = step.state === "done";
      write(this.words, done ? say("The numbers are compared with this neutral face now.") : say("No face was read for long enough. Face the camera and try again."));
      toast(this.words.textContent ?? "", done ? "good" : "bad");
    }
    show(this.words, true);
  }
}
