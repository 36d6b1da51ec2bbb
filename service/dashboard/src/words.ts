// The state of a session as one sentence for people.

import type { AffectEvent, Face } from "./event";
import { nameInSentence } from "./names";
import { say, type Text, translated } from "./say";
import type { Link } from "./stream";

export type Tone = "good" | "wait" | "bad";

export interface Status {
  tone: Tone;
  text: string;
}

const REASONS: Readonly<Record<string, Text>> = {
  turned_away: "Turned away: face the camera",
  blurred: "Too blurred to read",
  too_small: "Too far away to read: come closer",
  too_dark: "Too dark to read: more light is needed",
  occluded: "Partly covered: a hand or a mask hides what would be read",
  unclear: "No expression can be read: perhaps a drawing, a mask or a covered face",
  engine_failed: "The engine failed: see the service’s log",
  not_read_yet: "Waiting for the model’s first answer",
};

/** The one sentence that matters most now. `last`: the newest event, null before the first. */
export function status(link: Link, retryIn: number, last: AffectEvent | null, chosen: Face | null, asleep: boolean): Status {
  if (link === "lost") {
    const text =
      retryIn > 0.5
        ? say("Reconnecting: the service does not answer, trying again in {seconds} s", { seconds: Math.ceil(retryIn) })
        : say("Reconnecting: the service does not answer, trying again");
    return { tone: "bad", text };
  }
  if (!last) return { tone: "wait", text: say("Waiting for the first picture") };
  const detail = last.detail ? `: ${last.detail}` : "";
  switch (last.state) {
    case "connecting":
      return { tone: "wait", text: say("Connecting: waiting for the first picture") };
    case "stalled":
      return { tone: "bad", text: say("The pictures have stopped coming") };
    case "reconnecting":
      return { tone: "bad", text: say("Reconnecting to the source") + detail };
    case "ended":
      return { tone: "wait", text: say("Ended") + detail };
    case "failed":
      return { tone: "bad", text: say("Failed") + detail };
    case "live":
  }
  if (asleep) return { tone: "bad", text: say("The service has sent nothing for a while") };
  if (!last.faces.length) return { tone: "wait", text: say("Looking for a face") };
  if (!chosen) return { tone: "wait", text: say("The chosen face is not in view") };
  return ofFace(chosen, last.faces.length);
}

function ofFace(face: Face, faces: number): Status {
  const name = { face: nameInSentence(face.track) };
  switch (face.status) {
    case "abstained":
      return { tone: "wait", text: unreadable(face) };
    case "held":
      return { tone: "wait", text: say("Face lost: holding its last value") };
    case "warming_up":
      return { tone: "good", text: say("Reading {face}; windows are warming up", name) };
    case "ok":
      return {
        tone: "good",
        text: faces > 1 ? say("Reading {faces} faces, showing {face}", { faces, ...name }) : say("Reading {face}", name),
      };
  }
}

function unreadable(face: Face): string {
  const reason = REASONS[face.reasons.find((one) => one in REASONS) ?? ""];
  return say(reason ?? "Cannot be read now");
}

/** How one face of several is, in a few words. */
export function faceStatus(face: Face): string {
  if (face.status === "abstained") return unreadable(face);
  return say(face.status === "held" ? "Lost just now" : face.status === "warming_up" ? "Read; warming up" : "Read");
}

const SOUNDS: Readonly<Record<string, Text>> = { speech: "speech", silence: "silence", no_sound: "no sound" };

export function soundWords(event: AffectEvent): string {
  return say(SOUNDS[event.audio.status] as Text);
}

/** What the voice says beside the face and what is shown of both; empty without a recent voice. */
export function voiceWords(event: AffectEvent, face: Face | null): string {
  const voice = event.audio.voice;
  if (!voice) return "";
  const figures = { voice: signed(voice.valence), arousal: signed(voice.arousal), expression: translated(voice.expression.label) };
  if (!face || voice.fused_into !== face.track) {
    return say("voice: {expression}, valence {voice}, arousal {arousal}; part of no face", figures);
  }
  return say("face {face}, voice {voice}, shown {shown} (valence)", {
    ...figures,
    face: signed(face.raw.valence),
    shown: signed(face.valence),
  });
}

/** "+0.28", "−0.05", or a dash where it is not known. */
export function signed(x: number | null | undefined): string {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  const text = Math.abs(x).toFixed(2);
  return x >= 0.005 ? `+${text}` : x <= -0.005 ? `−${text}` : text;
}

/** The service's words as a sentence of the page: with a capital and a full stop. */
export function sentence(text: string): string {
  return text && `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[\w)'"]$/.test(text) ? "." : ""}`;
}

export function milliseconds(x: number | null | undefined): string {
  return x === null || x === undefined || !Number.isFinite(x) ? "–" : `${Math.round(x)}`;
}
