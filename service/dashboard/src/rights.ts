// What this page's token may do. What it may not do is not shown, and a sentence says what it would need.

import { askAccess, forbidden } from "./api";
import type { Access, SessionInfo } from "./event";
import { find, show, write } from "./page";
import { say, type Text } from "./say";

const REASONS: Readonly<Record<Access["role"], Text | null>> = {
  view: "Your token may look on. Sending a camera needs a token of the role send; opening, changing and closing sessions one of the role manage.",
  send: "Your token may send a camera or a file, and change what it sends. Other sources and sessions need a token of the role manage.",
  manage: null,
};

export class Rights {
  private role: Access["role"] = "manage"; // until the service has said
  private own: readonly string[] = [];
  private known: string | null = null; // the sessions that there were when the service was asked; null: ask it anew

  constructor() {
    forbidden.heard = () => this.doubt();
  }

  /** Asks the service what the token may do where that may have changed, and shows it while `watched` is watched. */
  async update(sessions: readonly SessionInfo[], watched: string | null): Promise<void> {
    const there = sessions.map(({ id, incarnation }) => `${id}/${incarnation}`).join(" ");
    if (there === this.known) return;
    this.known = there;
    const { role, own } = await askAccess();
    this.role = role;
    this.own = own;
    this.show(watched);
  }

  /** Asks anew at the next `update`: a session was begun here, or the service was away or forbade what was offered. */
  doubt(): void {
    this.known = null;
  }

  /** Shows what the token may do while `watched` is watched. */
  show(watched: string | null): void {
    const may: Readonly<Record<string, boolean>> = {
      send: this.role !== "view",
      manage: this.role === "manage",
      change: watched === null || this.mayChange(watched),
      not: watched !== null && !this.mayChange(watched),
    };
    for (const element of document.querySelectorAll<HTMLElement>("[data-needs]")) {
      show(element, may[element.dataset["needs"] as string] ?? true);
    }
    const reason = REASONS[this.role];
    write(find("role"), reason ? say(reason) : "");
    show(find("role"), reason !== null);
  }

  /** Whether the token may mark, close or erase a session, and set its rules. */
  mayChange(session: string): boolean {
    return this.role === "manage" || (this.role === "send" && this.own.includes(session));
  }
}
