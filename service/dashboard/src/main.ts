// The page: sources, consent, what is watched, and the instrument that shows it.

import { asksForToken, closeSession, listSessions, loadedModels, logOut, resetBaseline } from "./api";
import { consent } from "./consent";
import { cameraProblem, listDevices, NO_SOUND, openCamera, playClip, release } from "./devices";
import { Display } from "./display";
import type { SessionInfo } from "./event";
import { find, show, write } from "./page";
import { SessionsList } from "./sessions_list";
import { startShortcuts } from "./shortcuts";
import { startTheme } from "./theme";
import { Watching } from "./watching";
import { milliseconds } from "./words";

const POLL = 1000; // ms
const POLL_HIDDEN = 5000; // ms, while nobody looks
const FORBIDDEN_USE = "NOT for commercial use"; // in a licence line of /v1/models

const DROPS: Readonly<Record<string, string>> = {
  newest_wins: "pictures for newer ones",
  sound_overflow_samples: "sound samples",
};

const video = find<HTMLVideoElement>("video");
const cameras = find<HTMLSelectElement>("camera");
const microphones = find<HTMLSelectElement>("microphone");
const size = find<HTMLSelectElement>("size");
const wanted = new URLSearchParams(location.search); // session=NAME, kiosk=1
const drawer = find<HTMLDialogElement>("drawer");
const sources = find("sources");

const display = new Display();
const watching = new Watching(display, video, {
  changed: (session, label) => {
    show(find("start"), session === null);
    show(find("instrument"), session !== null);
    for (const id of ["watching", "stop", "open-sources"]) show(find(id), session !== null);
    show(find("clip-pause-label"), watching.inputKind === "clip");
    write(find("watching-name"), session ?? "");
    write(find("watching-source"), label === session ? "" : label);
    document.title = session === null ? "Affectstream" : `${session} – Affectstream`;
    if (session !== null) drawer.close();
    find(session === null ? "start-sources" : "drawer-sources").append(sources);
    void facts();
  },
  problem: complain,
});

function complain(sentence: string): void {
  const place = find("source-problem");
  write(place, sentence);
  show(place, sentence !== "");
  if (sentence && watching.session !== null && !drawer.open) drawer.showModal();
}

/** Runs what a button asks for, and says what went wrong. */
async function attempt(button: HTMLButtonElement, action: () => Promise<void>): Promise<void> {
  complain("");
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    const sentence = error instanceof TypeError ? "the service does not answer" : String((error as Error).message);
    complain(sentence.charAt(0).toUpperCase() + sentence.slice(1));
  } finally {
    button.disabled = false;
  }
}

async function startCamera(): Promise<void> {
  const sound = find<HTMLInputElement>("consent-sound");
  sound.checked = microphones.value !== NO_SOUND;
  if (!(await consent(find<HTMLDialogElement>("consent")))) return;
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
  await watching.send("camera", stream, stream.getVideoTracks()[0]?.label ?? "this camera");
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
  watching.stop();
  find<HTMLInputElement>("clip-pause").checked = false;
  let stream: MediaStream;
  try {
    stream = await playClip(video, file);
  } catch (error) {
    release(video, null);
    throw error;
  }
  await watching.send("clip", stream, file.name);
}

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
  void attempt((submit.submitter ?? button("start-demo")) as HTMLButtonElement, () => watching.open(address));
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

button("to-live").onclick = () => display.togglePause();
button("logout").onclick = () => void attempt(button("logout"), logOut);
void asksForToken().then((asks) => show(button("logout"), asks), () => undefined);
button("help").onclick = () => find<HTMLDialogElement>("keys").showModal();
startShortcuts({
  " ": () => display.togglePause(),
  l: () => find("landmarks").click(),
  e: () => find("export").click(),
  "?": () => find<HTMLDialogElement>("keys").showModal(),
  Escape: () => display.toLive(),
});
document.documentElement.dataset["kiosk"] = String(wanted.has("kiosk"));

const list = new SessionsList(find<HTMLUListElement>("sessions"), find("no-sessions"), {
  watch: (info) => watching.watch(info.id, info.source),
  close: (id) => void attempt(button("start-demo"), () => closeSession(id)),
});

async function poll(): Promise<void> {
  try {
    const sessions = await listSessions();
    list.show(sessions, watching.session);
    const linked = sessions.find((info) => info.id === wanted.get("session"));
    if (linked && watching.session === null) {
      wanted.delete("session"); // once: afterwards the user's own choice counts
      watching.watch(linked.id, linked.source);
    }
    figures(sessions.find((info) => info.id === watching.session));
  } catch {
    list.unknown();
  }
  setTimeout(() => void poll(), document.hidden ? POLL_HIDDEN : POLL);
}

function figures(info: SessionInfo | undefined): void {
  const { p50 = null, p95 = null } = info?.figures.latency_ms ?? {};
  write(find("fps"), info ? `${info.figures.fps.toFixed(1)} /s` : "–");
  write(find("latency"), info ? `${milliseconds(p50)} / ${milliseconds(p95)} ms` : "–");
  const lost = Object.entries(info?.figures.dropped ?? {}).filter(([, n]) => n > 0);
  write(find("dropped"), info ? lost.map(([reason, n]) => `${n} ${DROPS[reason] ?? reason}`).join(", ") || "none" : "–");
}

async function facts(): Promise<void> {
  try {
    const { models, licences } = await loadedModels();
    show(find("untrained"), models.some((model) => !model.trained));
    const forbidden = licences.filter((line) => line.includes(FORBIDDEN_USE));
    write(find("licence-lines"), forbidden.map((line) => line.replace(` - ${FORBIDDEN_USE}`, "")).join("; "));
    show(find("licence"), forbidden.length > 0);
    const [model] = models;
    if (model && !display.newest) {
      write(find("model"), model.weights);
      write(find("engine"), `${model.engine} ${model.precision}`);
    }
  } catch {
    // asked again with the next session
  }
}

write(find("consent-host"), location.host);
startTheme(button("theme"), () => display.restyle());
void listDevices(cameras, microphones);
void poll();
void facts();
