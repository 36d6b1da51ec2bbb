// This machine's camera and microphone, and clips that are played like one.

import { say } from "./say";

export const NO_SOUND = "none";

export interface Choice {
  camera: string; // device id; "" is the browser's own choice
  microphone: string; // or NO_SOUND
  size: string; // WIDTHxHEIGHT
}

/** Asks the browser for the camera, and for the microphone if wanted. Throws what getUserMedia throws. */
export async function openCamera(choice: Choice): Promise<MediaStream> {
  if (!navigator.mediaDevices) {
    throw new Error(say("this browser gives cameras only to https pages and to localhost"));
  }
  const [width = 640, height = 360] = choice.size.split("x").map(Number);
  return navigator.mediaDevices.getUserMedia({
    video: {
      width: { ideal: width },
      height: { ideal: height },
      frameRate: { ideal: 30, max: 30 },
      ...(choice.camera ? { deviceId: { exact: choice.camera } } : {}),
    },
    // What makes a call sound better changes what a voice tells.
    audio: choice.microphone !== NO_SOUND && {
      echoCancellation: false,
      noiseSuppression: false,
      autoGainControl: false,
      ...(choice.microphone ? { deviceId: { exact: choice.microphone } } : {}),
    },
  });
}

/** What went wrong with a camera, and what to do. */
export function cameraProblem(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") {
    return say("The camera was not allowed. Allow it in the browser’s address bar, then start it again.");
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return say("That camera or microphone was not found. Connect it or choose another, then start again.");
  }
  if (name === "NotReadableError") return say("The camera is used by another program. Close that one, then start again.");
  return say("The camera could not be started: {why}.", { why: error instanceof Error ? error.message : String(error) });
}

/** Fills the two lists; names are known only once a camera was allowed. */
export async function listDevices(cameras: HTMLSelectElement, microphones: HTMLSelectElement): Promise<void> {
  if (!navigator.mediaDevices) return;
  const devices = await navigator.mediaDevices.enumerateDevices();
  for (const [list, kind, unnamed, fallback] of [
    [cameras, "videoinput", say("Camera"), say("Default camera")],
    [microphones, "audioinput", say("Microphone"), say("Default microphone")],
  ] as const) {
    const chosen = list.value;
    const options = devices
      .filter((device) => device.kind === kind && device.deviceId && device.deviceId !== "default")
      .map((device, n) => new Option(device.label || `${unnamed} ${n + 1}`, device.deviceId));
    list.replaceChildren(new Option(fallback, ""), ...options);
    if (kind === "audioinput") list.append(new Option(say("No sound"), NO_SOUND));
    if ([...list.options].some((option) => option.value === chosen)) list.value = chosen;
  }
}

type Capturing = HTMLVideoElement & { captureStream?: () => MediaStream; mozCaptureStream?: () => MediaStream };

/** Plays `file` in `video`, round and round, and gives what it plays. Throws an Error for a file that cannot be played. */
export async function playClip(video: HTMLVideoElement, file: File): Promise<MediaStream> {
  const capturing = video as Capturing;
  const capture = capturing.captureStream ?? capturing.mozCaptureStream;
  if (!capture) throw new Error(say("this browser cannot send a clip; Chromium and Firefox can"));
  video.srcObject = null;
  video.src = URL.createObjectURL(file);
  video.loop = true;
  video.muted = true; // for the ear; what is sent keeps its sound
  try {
    await video.play();
  } catch {
    throw new Error(say("{file} cannot be played by this browser; try MP4 (H.264) or WebM", { file: file.name }));
  }
  return capture.call(video);
}

/** Lets camera or clip go. */
export function release(video: HTMLVideoElement, stream: MediaStream | null): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
  video.pause();
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute("src");
  video.load();
}
