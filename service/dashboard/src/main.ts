// The page: sources, consent, what is watched, and the instrument that shows it.

import { Alerts } from "./alerts";
import { asksForToken, closeSession, eraseSession, listSessions, loadedModels, logOut, markMoment, resetBaseline, sessionReport } from "./api";
import { consent } from "./consent";
import { download } from "./csv";
import { cameraProblem, listDevices, NO_SOUND, openCamera, playClip, release } from "./devices";
import { Display } from "./display";
import { DropRate } from "./drop_rate";
import type { SessionInfo } from "./event";
import { startHints } from "./hints";
import { nameWeights } from "./model_cards";
import { NeutralButton } from "./neutral";
import { find, show, write } from "./page";
import { Recorder } from "./recorder";
import { Rights } from "./rights";
import { say, type Text, translatePage } from "./say";
import { startSessionOptions } from "./session_options";
import { SessionsList } from "./sessions_list";
import { startSettings } from "./settings";
import { startShortcuts } from "./shortcuts";
import { startTabs } from "./tabs";
import { startTheme } from "./theme";
import { toast } from "./toasts";
import { Watching } from "./watching";
import { milliseconds, sentence } from "./words";

const POLL = 1000; // ms
const POLL_HIDDEN = 5000; // ms, while nobody looks
const FORBIDDEN_USE = "NOT for commercial use"; // in a licence line of /v1/models

const DROPS: Readonly<Record<string, Text>> = {
  newest_wins: "{n} pictures for newer ones",
  sound_overflow_samples: "{n} sound samples",
};

const video = find<HTMLVideoElement>("video");
const cameras = find<HTMLSelectElement>("camera");
const microphones = find<HTMLSelectElement>("microphone");
const size = find<HTMLSelectElement>("size");
const wanted = new URLSearchParams(location.search); // session=NAME, kiosk=1
const drawer = find<HTMLDialogElement>("drawer");
const sources = find("sources");

translatePage(); // before anything is written into the page

const display = new Display();
const recorder = new Recorder();
const dropped = new DropRate();
let recorded: string | null = null; // the session whose numbers a recording holds
const watching = new Watching(display, video, {
  changed: (session, label) => {
    show(find("start"), session === null);
    show(find("instrument"), session !== null);
    for (const id of ["watching", "stop", "open-sources", "open-alerts"]) show(find(id), session !== null);
    rights.doubt(); // what this page sends is its own
    rights.show(session);
    show(find("clip-pause-label"), watching.inputKind === "clip");
    write(find("watching-name"), session ?? "");
    write(find("watching-source"), label === session ? "" : label);
    document.title = session === null ? "Affectstream" : `${session} – Affectstream`;
    if (session !== recorded) recorder.stop();
    recorded = session;
    if (session !== null) drawer.close();
    find(session === null ? "start-sources" : "drawer-sources").append(sources);
    void facts();
  },
  problem: complain,
  closed: (name) => toast(say("The session {name} was closed", { name })),
  event: (event) => {
    recorder.event(event);
    const { alert } = event;
    if (alert?.status === "raised") toast(say("Alert {rule}: {condition}", { rule: alert.rule, condition: alert.condition }), "bad");
    else if (alert) toast(say("Alert {rule} is over", { rule: alert.rule }), "good");
  },
});

function complain(problem: string): void {
  const place = find("source-problem");
  write(place, sentence(problem));
  show(place, problem !== "");
  if (problem && watching.session !== null && !drawer.open) drawer.showModal();
}

/** Runs what a button asks for, and says what went wrong. */
async function attempt(button: HTMLButtonElement, action: () => Promise<void>): Promise<void> {
  complain("");
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    complain(error instanceof TypeError ? say("the service does not answer") : String((error as Error).message));
  } finally {
    button.disabled = false;
  }
}

async function startCamera(): Promise<void> {
  const sound = find<HTMLInputElement>("consent-sound");
  sound.checked = microphones.value !== NO_SOUND;
  const purpose = await consent("camera");
  if (purpose === null) return;
  if (!sound.checked) microphones.value = NO_SOUND;
  else if (microphones.value === NO_SOUND) microphones.value = "";
  let stream: MediaStream;
  try {
    stream = await openCamera({ camera: cameras.value, microphone: microphones.value, size: size.value });
  } catch (error) {
    throw new Error(cameraProblem(error));
  }
  watching.stop();
  video.srcObject = stream;
  await video.play();
  await watching.send("camera", stream, stream.getVideoTracks()[0]?.label ?? say("this camera"), purpose);
  await listDevices(cameras, microphones);
}

async function changeDevice(): Promise<void> {
  if (watching.inputKind !== "camera") return;
  try {
    const stream = await openCamera({ camera: cameras.value, microphone: microphones.value, size: size.value });
    await watching.replace(stream);
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    complain(cameraProblem(error));
  }
}

async function startClip(file: File): Promise<void> {
  const purpose = await consent("clip");
  if (purpose === null) return;
  watching.stop();
  find<HTMLInputElement>("clip-pause").checked = false;
  let stream: MediaStream;
  try {
    stream = await playClip(video, file);
  } catch (error) {
    release(video, null);
    throw error;
  }
  await watching.send("clip", stream, file.name, purpose);
}

async function openAddress(address: string): Promise<void> {
  const demo = address.toLowerCase().startsWith("demo:"); // it reads nobody
  const purpose = demo ? undefined : await consent("address");
  if (purpose !== null) await watching.open(address, purpose);
}

const rights = new Rights();
new Alerts(() => watching.session, (session) => rights.mayChange(session));

const button = (id: string): HTMLButtonElement => find<HTMLButtonElement>(id);
const clip = find<HTMLInputElement>("clip");

button("start-camera").onclick = () => void attempt(button("start-camera"), startCamera);
button("choose-clip").onclick = () => clip.click();
clip.onchange = () => {
  const file = clip.files?.[0];
  clip.value = "";
  if (file) void attempt(button("choose-clip"), () => startClip(file));
};
find<HTMLFormElement>("address-form").onsubmit = (submit) => {
  submit.preventDefault();
  const address = find<HTMLInputElement>("address").value.trim();
  void attempt((submit.submitter ?? button("start-demo")) as HTMLButtonElement, () => openAddress(address));
};
button("start-demo").onclick = () => void attempt(button("start-demo"), () => watching.open("demo:"));
cameras.onchange = microphones.onchange = size.onchange = () => void changeDevice();
button("stop").onclick = () => {
  watching.stop();
  button("start-camera").focus();
};
button("open-sources").onclick = () => drawer.showModal();
button("close-sources").onclick = () => drawer.close();
button("baseline").onclick = () => {
  const { session } = watching;
  if (session) void attempt(button("baseline"), () => resetBaseline(session));
};
find<HTMLInputElement>("landmarks").onchange = (change) => {
  watching.showLandmarks((change.target as HTMLInputElement).checked);
};
find<HTMLInputElement>("clip-pause").onchange = (change) => {
  if ((change.target as HTMLInputElement).checked) video.pause();
  else void video.play();
};

async function mark(): Promise<void> {
  const { session } = watching;
  if (session === null) return;
  if (!rights.mayChange(session)) throw new Error(say("your token may not mark moments of this session"));
  const label = find<HTMLInputElement>("marker-label");
  const made = await markMoment(session, label.value.trim() || say("marker {n}", { n: ++markers }), display.pointedAt);
  toast(say("Marked: {label}", { label: made.label }));
}

let markers = 0; // those without a label of their own
find<HTMLFormElement>("mark-form").onsubmit = (submit) => {
  submit.preventDefault();
  void attempt(button("mark"), mark);
};
button("to-live").onclick = () => display.togglePause();
button("logout").onclick = () => void attempt(button("logout"), logOut);
void asksForToken().then((asks) => show(button("logout"), asks), () => undefined);
button("help").onclick = () => find<HTMLDialogElement>("keys").showModal();
startShortcuts({
  " ": () => display.togglePause(),
  l: () => find("landmarks").click(),
  e: () => find("export").click(),
  m: () => watching.session !== null && find<HTMLFormElement>("mark-form").requestSubmit(),
  r: () => watching.session !== null && recorder.toggle(),
  "?": () => find<HTMLDialogElement>("keys").showModal(),
  Escape: () => display.toLive(),
});
document.documentElement.dataset["kiosk"] = String(wanted.has("kiosk"));

const list = new SessionsList(find<HTMLUListElement>("sessions"), find("no-sessions"), {
  watch: (info) => watching.watch(info.id, info.source),
  mayChange: (id) => rights.mayChange(id),
  close: (id) => void attempt(button("start-demo"), () => closeSession(id)),
  erase: (id) => void attempt(button("start-demo"), () => erase(id)),
});

async function erase(id: string): Promise<void> {
  const n = await eraseSession(id);
  if (id === watching.session) watching.forget();
  toast(say("Erased of {name}: {n} entries. A recording in this page stays until the page is closed.", { name: id, n }));
}

async function saveReport(): Promise<void> {
  const { session } = watching;
  if (session !== null) download(`affect-${session}.html`, await sessionReport(session), "text/html");
}

const neutral = new NeutralButton(() => watching.session, attempt);
button("report").onclick = () => void attempt(button("report"), saveReport);

async function poll(): Promise<void> {
  try {
    const sessions = await listSessions();
    await rights.update(sessions, watching.session);
    list.show(sessions, watching.session, wanted.get("session"));
    const linked = sessions.find((info) => info.id === wanted.get("session"));
    if (linked && watching.session === null) {
      wanted.delete("session"); // once: afterwards the user's own choice counts
      watching.watch(linked.id, linked.source);
    }
    figures(sessions.find((info) => info.id === watching.session));
  } catch {
    rights.doubt(); // it may come back with other tokens
    list.unknown();
  }
  setTimeout(() => void poll(), document.hidden ? POLL_HIDDEN : POLL);
}

function figures(info: SessionInfo | undefined): void {
  const { p50 = null, p95 = null } = info?.figures.latency_ms ?? {};
  display.lost = dropped.share(info);
  neutral.update(info);
  write(find("fps"), info ? `${info.figures.fps.toFixed(1)} /s` : "–");
  write(find("latency"), info ? `${milliseconds(p50)} / ${milliseconds(p95)} ms` : "–");
  const lost = Object.entries(info?.figures.dropped ?? {}).filter(([, n]) => n > 0);
  write(find("dropped"), info ? lost.map(([reason, n]) => say(DROPS[reason] ?? "{n} others", { n })).join(", ") || say("none") : "–");
}

async function facts(): Promise<void> {
  try {
    const { models, licences } = await loadedModels();
    const forbidden = licences.filter((line) => line.includes(FORBIDDEN_USE));
    write(find("licence-lines"), forbidden.map((line) => line.replace(` - ${FORBIDDEN_USE}`, "")).join("; "));
    show(find("licence"), forbidden.length > 0);
    const [model] = models;
    if (model && !display.newest) {
      show(find("untrained"), !model.trained);
      nameWeights(model.weights);
      write(find("engine"), `${model.engine} ${model.precision}`);
    }
  } catch {
    // asked again with the next session
  }
}

write(find("consent-host"), location.host);
startTheme(find<HTMLSelectElement>("theme"), () => display.restyle());
startTabs([find("tab-one"), find("tab-all")], () => display.redraw());
const hints = startHints(wanted.has("kiosk"));
startSettings(watching, hints);
startSessionOptions();
void listDevices(cameras, microphones);
void poll();
void facts();
