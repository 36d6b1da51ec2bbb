// Requests to the service; an answer 401 leads to the login page.

import type { Access, Alert, Marker, ModelList, SessionInfo } from "./event";
import { refusal } from "./refusals";
import { say } from "./say";
import type { SessionOptions } from "./session_options";

/** The service refused a request; the message is its sentence, in the page's language. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    sentence: string,
  ) {
    super(sentence);
  }
}

/** The address of a path of the service, also where a proxy puts all of it under a path of its own. */
export function address(path: string): string {
  return new URL(`.${path}`, document.baseURI).href;
}

/** Is called where the service forbids something, because the page knew wrongly what its token may do. */
export const forbidden = { heard: (): void => undefined };

/** Sends `request`; throws `Refused` for 4xx and 5xx, TypeError if the service cannot be reached. */
export async function ask(path: string, request: RequestInit = {}): Promise<Response> {
  const answer = await fetch(address(path), request);
  if (answer.ok) return answer;
  if (answer.status === 401) location.assign(address("/login"));
  let sentence = say("the service answered {status}", { status: answer.status });
  try {
    const { code = "", detail } = (await answer.json()) as { code?: string; detail?: string };
    if (code === "role_needed") forbidden.heard();
    if (detail) sentence = refusal(code, detail);
  } catch {
    // no JSON: a proxy's page, perhaps
  }
  throw new Refused(answer.status, sentence);
}

export async function listSessions(): Promise<SessionInfo[]> {
  const answer = await ask("/v1/sessions", { signal: AbortSignal.timeout(5000) });
  return ((await answer.json()) as { sessions: SessionInfo[] }).sessions;
}

export async function askAccess(): Promise<Access> {
  const answer = await ask("/v1/access", { signal: AbortSignal.timeout(5000) });
  return (await answer.json()) as Access;
}

export async function openSession(source: string, options: SessionOptions, purpose?: string, name?: string): Promise<SessionInfo> {
  const body = JSON.stringify({ source, purpose, name, ...options }); // without those that are undefined
  const answer = await ask("/v1/sessions", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return (await answer.json()) as SessionInfo;
}

export async function closeSession(id: string): Promise<void> {
  await ask(`/v1/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
}

export async function resetBaseline(id: string): Promise<void> {
  await ask(`/v1/sessions/${encodeURIComponent(id)}/baseline`, { method: "POST" });
}

/** Begins the ten seconds in which the people in view look neutral. */
export async function beginNeutralStep(id: string): Promise<SessionInfo["figures"]["neutral"]> {
  const answer = await ask(`/v1/sessions/${encodeURIComponent(id)}/neutral`, { method: "POST" });
  return (await answer.json()) as SessionInfo["figures"]["neutral"];
}

/** Erases what the service and its sinks keep of a session; gives how many rows and events that was. */
export async function eraseSession(id: string): Promise<number> {
  const answer = await ask(`/v1/sessions/${encodeURIComponent(id)}/data`, { method: "DELETE" });
  const { erased } = (await answer.json()) as { erased: Record<string, number> };
  return Object.values(erased).reduce((sum, n) => sum + n, 0);
}

/** The report on a session, one page of HTML. */
export async function sessionReport(id: string): Promise<Blob> {
  return (await ask(`/v1/sessions/${encodeURIComponent(id)}/report`)).blob();
}

/** Marks second `t` of a session's clock, or now. */
export async function markMoment(id: string, label: string, t?: number): Promise<Marker> {
  const body = JSON.stringify(t === undefined ? { label } : { label, t: Number(t.toFixed(3)) });
  const headers = { "Content-Type": "application/json" };
  const answer = await ask(`/v1/sessions/${encodeURIComponent(id)}/markers`, { method: "POST", headers, body });
  return (await answer.json()) as Marker;
}

/** One rule of a session; its text is `NAME: CONDITION`. */
export interface Rule {
  name: string;
  condition: string;
  value: string;
  /** Why it can never hold, which is that the model does not give its value; null where it can. */
  problem: string | null;
}

export async function sessionRules(id: string): Promise<Rule[]> {
  return ((await (await ask(`/v1/sessions/${encodeURIComponent(id)}/rules`)).json()) as { rules: Rule[] }).rules;
}

/** Sets all rules of a session, as text. Throws `Refused` for one that cannot be. */
export async function setRules(id: string, rules: readonly string[]): Promise<Rule[]> {
  const headers = { "Content-Type": "application/json" };
  const answer = await ask(`/v1/sessions/${encodeURIComponent(id)}/rules`, { method: "PUT", headers, body: JSON.stringify({ rules }) });
  return ((await answer.json()) as { rules: Rule[] }).rules;
}

/** Whether the service asks for a token: its login page leads on to the dashboard where it does not. */
export async function asksForToken(): Promise<boolean> {
  return (await fetch(address("/login"), { redirect: "manual" })).type !== "opaqueredirect";
}

export async function logOut(): Promise<void> {
  await ask("/logout", { method: "POST" });
  location.assign(address("/login"));
}

/** What a session showed so far, a row a second; the values of a row are named by `columns`. */
export interface Past {
  columns: string[];
  rows: (number | null)[][];
  markers?: Marker[];
  alerts?: (Alert & { t: number })[];
}

export async function sessionPast(id: string): Promise<Past> {
  return (await (await ask(`/v1/sessions/${encodeURIComponent(id)}/history`)).json()) as Past;
}

export async function loadedModels(): Promise<ModelList> {
  return (await (await ask("/v1/models")).json()) as ModelList;
}
