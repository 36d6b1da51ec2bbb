// One face cut out of the picture that it was found in: for its card, and to tell how well it is lit.

import type { AffectEvent, Face } from "./event";
import type { Picture } from "./pictures";

const MARGIN = 0.15; // of the face's width, around it
const SAMPLES = 16; // pixels a side that the light is measured on

const small = document.createElement("canvas");
small.width = small.height = SAMPLES;
const sampling = small.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;

/** Fills `context`, `size` pixels a side, with a square around `face`. */
export function drawFace(
  context: CanvasRenderingContext2D,
  size: number,
  picture: Picture,
  event: AffectEvent,
  face: Face,
  mirrored: boolean,
): void {
  if (!event.image_size) return;
  const scale = picture.width / event.image_size[0];
  const [x, y, width, height] = face.box;
  const side = Math.max(width, height) * (1 + 2 * MARGIN);
  const left = (x + width / 2 - side / 2) * scale;
  const top = (y + height / 2 - side / 2) * scale;
  context.save();
  if (mirrored) {
    context.translate(size, 0);
    context.scale(-1, 1);
  }
  context.drawImage(picture.image, left, top, side * scale, side * scale, 0, 0, size, size);
  context.restore();
}

/** How bright the face is in the picture: mean luma from 0 to 1. */
export function faceLight(picture: Picture, event: AffectEvent, face: Face): number {
  sampling.clearRect(0, 0, SAMPLES, SAMPLES);
  drawFace(sampling, SAMPLES, picture, event, face, false);
  const { data } = sampling.getImageData(0, 0, SAMPLES, SAMPLES);
  let sum = 0;
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (!data[at + 3]) continue; // beyond the edge of the picture
    sum += 0.2126 * (data[at] as number) + 0.7152 * (data[at + 1] as number) + 0.0722 * (data[at + 2] as number); // BT.709
    count++;
  }
  return count ? sum / count / 255 : NaN;
}
