// Events as a table: the rows and columns of `analyze`'s exports, so that one script reads both.

import type { ActionUnit, AffectEvent, Face, Marker } from "./event";
import { AU_THRESHOLD, TABLE_COLUMNS } from "./table_columns";

type Cell = string | number | null | undefined;

/** The header of the table. */
export const HEADER = TABLE_COLUMNS.join(",");

/** A line for each face of an event about picture `frame`, counted from 1; one of success 0 where there is no face.
 *  `markers`: labels of those since the picture before; `newest`: the newest marker so far. */
export function tableLines(event: AffectEvent, frame: number, markers: readonly string[], newest: Marker | null): string[] {
  const common: Record<string, Cell> = {
    frame,
    timestamp: event.t,
    success: 0,
    marker: markers.join(";"),
    last_marker: newest?.label,
    last_marker_t: newest?.t,
    weights: event.model.weights,
    trained: Number(event.model.trained),
  };
  if (!event.faces.length) return [line({ ...common, reasons: event.reasons.join(";") })];
  return event.faces.map((face) => line({ ...common, ...ofFace(face) }));
}

/** Cells by their columns' names as one line without its end; unknown is empty. */
export function line(cells: Readonly<Record<string, Cell>>, names: readonly string[] = TABLE_COLUMNS): string {
  return names.map((name) => quoted(cells[name])).join(",");
}

function quoted(cell: Cell): string {
  if (cell === null || cell === undefined) return "";
  const text = String(cell);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function ofFace(face: Face): Record<string, Cell> {
  const { pitch, yaw, roll } = face.head_pose;
  const cells: Record<string, Cell> = {
    face_id: face.track,
    confidence: face.confidence,
    success: Number(face.status === "ok" || face.status === "warming_up"),
    // OpenFace's axes point right, down and away from the camera: up and to the picture's right are negative there.
    pose_Rx: radians(-pitch),
    pose_Ry: radians(-yaw),
    pose_Rz: radians(roll),
    status: face.status,
    reasons: face.reasons.join(";"),
    age_ms: face.age_ms,
    expression: face.expression?.label,
    ...face.expression?.probabilities,
  };
  for (const name of ["valence", "arousal"] as const) {
    cells[name] = face[name];
    cells[`${name}_raw`] = face.raw[name];
    cells[`${name}_std`] = face.std[name];
    cells[`${name}_from_baseline`] = face.from_baseline[name];
  }
  for (const [name, probability] of Object.entries(face.aus) as [ActionUnit, number][]) {
    cells[`${name}_p`] = probability;
    cells[`${name}_c`] = Number(probability >= AU_THRESHOLD);
  }
  for (const [name, intensity] of Object.entries(face.intensities ?? {})) cells[`${name}_r`] = intensity;
  const [face_x, face_y, face_width, face_height] = face.box;
  return { ...cells, face_x, face_y, face_width, face_height, ...signals(face) };
}

function signals({ eyes, head_gesture, speech, gaze }: Face): Record<string, Cell> {
  return {
    gaze_yaw: gaze?.yaw,
    gaze_pitch: gaze?.pitch,
    eye_openness: eyes?.openness,
    eyes_closed: bit(eyes?.closed),
    blink_ms: eyes?.blink_ms,
    blinks: eyes?.blinks,
    blinks_per_min: eyes?.blinks_per_min,
    head_gesture: head_gesture?.gesture,
    nods: head_gesture?.nods,
    shakes: head_gesture?.shakes,
    speaking: bit(speech?.speaking),
    mouth_motion: speech?.mouth_motion,
  };
}

const bit = (value: boolean | null | undefined): Cell => (typeof value === "boolean" ? Number(value) : value);

const radians = (degrees: number): number => Math.round((degrees * Math.PI * 1e4) / 180) / 1e4 + 0;
