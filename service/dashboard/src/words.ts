// The state of a session as one sentence for people.

import type { AffectEvent, Face } from "./event";
import type { Link } from "./stream";

export type Tone = "good" | "wait" | "bad";

export interface Status {
  tone: Tone;
  text: string;
}

const REASONS: Readonly<Record<string, string>> = {
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
    const wait = retryIn > 0.5 ? `trying again in ${Math.ceil(retryIn)} s` : "trying again";
    return { tone: "bad", text: `Reconnecting: the service does not answer, ${wait}` };
  }
  if (!last) return { tone: "wait", text: "Waiting for the first picture" };
  switch (last.state) {
    case "connecting":
      return { tone: "wait", text: "Connecting: waiting for the first picture" };
    case "stalled":
      return { tone: "bad", text: "The pictures have stopped coming" };
    case "reconnecting":
      return { tone: "bad", text: `Reconnecting to the source${last.detail ? `: ${last.detail}` : ""}` };
    case "ended":
      return { tone: "wait", text: `Ended${last.detail ? `: ${last.detail}` : ""}` };
    case "failed":
      return { tone: "bad", text: `Failed${last.detail ? `: ${last.detail}` : ""}` };
    case "live":
  }
  if (asleep) return { tone: "bad", text: "The service has sent nothing for a while" };
  if (!last.faces.length) return { tone: "wait", text: "Looking for a face" };
  if (!chosen) return { tone: "wait", text: "The chosen face is not in view" };
  return ofFace(chosen, last.faces.length);
}

function ofFace(face: Face, faces: number): Status {
  switch (face.status) {
    case "abstained":
      return { tone: "wait", text: REASONS[face.reasons.find((reason) => reason in REASONS) ?? ""] ?? "Cannot be read now" };
    case "held":
      return { tone: "wait", text: "Face lost: holding its last value" };
    case "warming_up":
      return { tone: "good", text: `Reading face ${face.track}; windows and baseline are warming up` };
    case "ok":
      return { tone: "good", text: faces > 1 ? `Reading ${faces} faces, showing face ${face.track}` : `Reading face ${face.track}` };
  }
}

/** What the voice says beside the face and what is shown of both; empty without a recent voice. */
export function voiceWords(event: AffectEvent, face: Face | null): string {
  const voice = event.audio.voice;
  if (!voice) return "";
  const said = `voice: ${voice.expression.label}, valence ${signed(voice.valence)}, arousal ${signed(voice.arousal)}`;
  if (!face || voice.fused_into !== face.track) return `${said}; part of no face`;
  return `face ${signed(face.raw.valence)}, voice ${signed(voice.valence)}, shown ${signed(face.valence)} (valence)`;
}

/** Size, turn and covering of the face, in words. */
export function qualityWords(face: Face | null): string {
  if (!face) return "–";
  const parts = [`${Math.round(face.box[2])} px wide`];
  if (face.head_pose) parts.push(`turned ${Math.abs(Math.round(face.head_pose.yaw))}°`);
  if (face.occluded !== null && face.occluded !== undefined) parts.push(`${Math.round(100 * face.occluded)} % covered`);
  return parts.join(" · ");
}

/** "+0.28", "−0.05", or a dash where it is not known. */
export function signed(x: number | null | undefined): string {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  const text = Math.abs(x).toFixed(2);
  return x >= 0.005 ? `+${text}` : x <= -0.005 ? `−${text}` : text;
}

export function milliseconds(x: number | null | undefined): string {
  return x === null || x === undefined || !Number.isFinite(x) ? "–" : `${Math.round(x)}`;
}
