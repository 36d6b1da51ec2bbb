// What the browser remembers of this page's settings. Where its storage is full or forbidden they last as long as the page.

const here = new Map<string, string>();

/** Whether the browser took everything that was to be remembered. */
export let lasting = true;

/** The value of `key`; null where there is none. */
export function remembered(key: string): string | null {
  if (here.has(key)) return here.get(key) as string;
  try {
    return localStorage.getItem(key);
  } catch {
    lasting = false; // forbidden
    return null;
  }
}

export function remember(key: string, value: string): void {
  here.set(key, value);
  try {
    localStorage.setItem(key, value);
  } catch {
    lasting = false; // full, or forbidden
  }
}
