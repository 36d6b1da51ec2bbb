"""Face detection: BlazeFace on a region of the picture, decoded to boxes and six keypoints in the picture's pixels.

Anchors, decoding and weighted suppression follow MediaPipe's published graphs for the two files (Bazarevsky et al.
2019): one anchor of unit size per cell of 4 px (full range, 192), or two and six per cell of 8 and 16 px (short range,
128); offsets in pixels of the input; scores through a logistic function.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.perception.networks import Runs

MIN_SCORE = 0.4  # of a detection; the mesh network then decides whether it is a face
MAX_OVERLAP = 0.3  # intersection over union, above which two detections are one face
_SCORE_CLIP = 100.0  # logits

# Layers of the anchor grid by the side of the network's input: (pixels per cell, anchors per cell).
_LAYERS = {192: ((4, 1),), 128: ((8, 2), (16, 6))}


@dataclass(frozen=True, slots=True)
class Detection:
    """Hold a face that a detector found.

    Attributes:
        box: x, y, width and height in pixels of the picture.
        keypoints: (6, 2) pixels of the picture: image-left eye, image-right eye, nose tip, mouth, image-left tragion,
            image-right tragion.
        score: 0 to 1.
    """

    box: tuple[float, float, float, float]
    keypoints: NDArray[np.float32]
    score: float


Region = tuple[int, int, int, int]  # x, y, width, height in pixels of the picture


def anchors(size: int) -> NDArray[np.float32]:
    """Return (n, 2) anchor centres in pixels of the network's square input of `size`, in the order of its outputs."""
    layers = []
    for stride, per_cell in _LAYERS[size]:
        centres = (np.arange(size // stride) + 0.5) * stride
        y, x = np.meshgrid(centres, centres, indexing="ij")
        layers.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), per_cell, axis=0))
    return np.concatenate(layers).astype(np.float32)


_ANCHORS = {size: anchors(size) for size in _LAYERS}


def detect(
    network: Runs, image: NDArray[np.uint8], region: Region | None = None, min_score: float = MIN_SCORE
) -> list[Detection]:
    """Return the faces that a detector finds, the best first, each once.

    Detections that touch an edge of the region which is not an edge of the picture are left out, because another region
    shows that face whole.

    Args:
        network: The detector.
        image: (height, width, 3) RGB.
        region: The part of the picture to search; None for all of it.
        min_score: Score of a detection, 0 to 1.
    """
    height, width = image.shape[:2]
    x0, y0, w, h = region or (0, 0, width, height)
    scale = letterbox(image[y0 : y0 + h, x0 : x0 + w], network.input())
    boxes, logits = network.run()
    logits = logits.reshape(-1)
    chosen = np.flatnonzero(logits > np.log(min_score / (1 - min_score)))
    if not len(chosen):
        return []
    raw = boxes.reshape(len(logits), -1)[chosen]
    points = raw.reshape(len(chosen), -1, 2) / scale  # centre, size, six keypoints
    centres = _ANCHORS[network.size][chosen] / scale
    points[:, 0] += centres
    points[:, 2:] += centres[:, None]
    # The picture lies in the middle of the square input.
    side = network.size / scale
    offset = np.array([x0 - (side - w) / 2, y0 - (side - h) / 2], np.float32)
    points[:, 0] += offset
    points[:, 2:] += offset
    scores = 1 / (1 + np.exp(-np.clip(logits[chosen], -_SCORE_CLIP, _SCORE_CLIP)))
    low = points[:, 0] - points[:, 1] / 2
    high = points[:, 0] + points[:, 1] / 2
    whole = np.isfinite(points).all((1, 2))
    margin = 2 / scale  # two pixels of the network's input
    for axis, (start, length, limit) in enumerate(((x0, w, width), (y0, h, height))):
        if start > 0:
            whole &= low[:, axis] > start + margin
        if start + length < limit:
            whole &= high[:, axis] < start + length - margin
    return suppress(points[whole], scores[whole])


def letterbox(image: NDArray[np.uint8], out: NDArray[np.uint8]) -> float:
    """Draw `image` scaled and centred into the square `out`, black around it, and return the scale, out over picture.

    The scaling is bilinear, as in MediaPipe: averaging the area found no smaller faces and cost ten times as much.
    """
    size = out.shape[0]
    height, width = image.shape[:2]
    scale: float = size / max(height, width)
    inner_w = min(size, max(1, round(width * scale)))
    inner_h = min(size, max(1, round(height * scale)))
    x = (size - inner_w) // 2
    y = (size - inner_h) // 2
    if inner_w < size or inner_h < size:
        out.fill(0)
    inner = out[y : y + inner_h, x : x + inner_w]
    cv2.resize(image, (inner_w, inner_h), dst=inner, interpolation=cv2.INTER_LINEAR)
    return scale


def suppress(points: NDArray[np.float32], scores: NDArray[np.floating]) -> list[Detection]:
    """Return one detection for each group of overlapping boxes: their mean, weighted by score.

    Args:
        points: (n, 2 + 6, 2) centre, size and keypoints in pixels.
        scores: (n,) 0 to 1.
    """
    found = []
    order = np.argsort(-scores, kind="stable")
    while len(order):
        group = overlap(points[order[0], :2], points[order, :2]) > MAX_OVERLAP
        group[0] = True
        members = order[group]
        weights = scores[members] / scores[members].sum()
        mean = np.tensordot(weights, points[members], 1)
        (cx, cy), (w, h) = mean[0].tolist(), mean[1].tolist()
        found.append(Detection((cx - w / 2, cy - h / 2, w, h), mean[2:].astype(np.float32), float(scores[members[0]])))
        order = order[~group]
    return found


def overlap(box: NDArray[np.floating], boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return (n,) intersections over union of `box` (2, 2) with `boxes` (n, 2, 2), each as centre and size."""
    low = np.maximum(box[0] - box[1] / 2, boxes[:, 0] - boxes[:, 1] / 2)
    high = np.minimum(box[0] + box[1] / 2, boxes[:, 0] + boxes[:, 1] / 2)
    shared = np.maximum(high - low, 0).prod(1)
    ratio: NDArray[np.floating] = shared / np.maximum(box[1].prod() + boxes[:, 1].prod(1) - shared, 1e-9)
    return ratio
