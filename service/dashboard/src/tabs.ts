// Two tabs of which one is shown, by pointer and by arrow keys (ARIA's pattern for tabs).

import { find, show } from "./page";

/** `changed`: another one is shown. */
export function startTabs(tabs: readonly HTMLElement[], changed: () => void): void {
  const choose = (chosen: HTMLElement): void => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      show(find(tab.getAttribute("aria-controls") as string), tab === chosen);
    }
    changed();
  };
  tabs.forEach((tab, n) => {
    tab.onclick = () => choose(tab);
    tab.onkeydown = (key) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[key.key];
      const other = by === undefined ? undefined : tabs[(n + by + tabs.length) % tabs.length];
      if (!other) return;
      key.preventDefault();
      key.stopPropagation();
      choose(other);
      other.focus();
    };
  });
}
