// Requests to the service; an answer 401 leads to the login page.

import type { ModelList, SessionInfo } from "./event";

/** The service refused a request; the message is its sentence. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    sentence: string,
  ) {
    super(sentence);
  }
}

/** Sends `request`; throws `Refused` for 4xx and 5xx, TypeError if the service cannot be reached. */
export async function ask(path: string, request: RequestInit = {}): Promise<Response> {
  const answer = await fetch(path, request);
  if (answer.ok) return answer;
  if (answer.status === 401) location.assign("/login");
  let sentence = `the service answered ${answer.status}`;
  try {
    sentence = ((await answer.json()) as { detail: string }).detail;
  } catch {
    // no JSON: a proxy's page, perhaps
  }
  throw new Refused(answer.status, sentence);
}

export async function listSessions(): Promise<SessionInfo[]> {
  const answer = await ask("/v1/sessions", { signal: AbortSignal.timeout(5000) });
  return ((await answer.json()) as { sessions: SessionInfo[] }).sessions;
}

export async function openSession(source: string, name?: string): Promise<SessionInfo> {
  const body = JSON.stringify(name ? { source, name } : { source });
  const answer = await ask("/v1/sessions", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return (await answer.json()) as SessionInfo;
}

export async function closeSession(id: string): Promise<void> {
  await ask(`/v1/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
}

export async function resetBaseline(id: string): Promise<void> {
  await ask(`/v1/sessions/${encodeURIComponent(id)}/baseline`, { method: "POST" });
}

/** Whether the service asks for a token: its login page leads on to the dashboard where it does not. */
export async function asksForToken(): Promise<boolean> {
  return (await fetch("/login", { redirect: "manual" })).type !== "opaqueredirect";
}

export async function logOut(): Promise<void> {
  await ask("/logout", { method: "POST" });
  location.assign("/login");
}

/** What a session showed so far, a row a second; the values of a row are named by `columns`. */
export interface Past {
  columns: string[];
  rows: (number | null)[][];
}

export async function sessionPast(id: string): Promise<Past> {
  return (await (await ask(`/v1/sessions/${encodeURIComponent(id)}/history`)).json()) as Past;
}

export async function loadedModels(): Promise<ModelList> {
  return (await (await ask("/v1/models")).json()) as ModelList;
}
