// Keys that work anywhere on the page, but not while somebody writes or a dialog is open.

const WRITING = "input:not([type=checkbox]), textarea, select, dialog[open] *";

/** Calls what `keys` has for a key that is pressed by itself. */
export function startShortcuts(keys: Readonly<Record<string, () => unknown>>): void {
  addEventListener("keydown", (press) => {
    if (press.ctrlKey || press.metaKey || press.altKey || press.defaultPrevented) return;
    const on = press.target as Element;
    if (on.closest(WRITING) || (press.key === " " && on.closest("button, summary, input"))) return;
    const act = keys[press.key.length === 1 ? press.key.toLowerCase() : press.key];
    if (!act) return;
    press.preventDefault();
    act();
  });
}
