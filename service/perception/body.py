"""The body below a face: MediaPipe's pose networks, and OpenPose's BODY_25 key points from their 33 landmarks.

Detection, regions and decoding follow MediaPipe's published pose graphs (Bazarevsky et al. 2020, BlazePose): a person
is two points, the middle of the hips and one as far from it as the body's circle is wide. BODY_25's neck and middle of
the hips are means of the two shoulders and hips; small toes have no counterpart and stay unknown.
"""

from dataclasses import dataclass
from math import hypot

import cv2
import numpy as np
from numpy.typing import NDArray

from service.perception.detector import letterbox
from service.perception.picture_size import Scale

SCENE, PERSON = 224, 256  # pixels, sides of the inputs of the detector and of the landmark network
MIN_SCORE = 0.5  # of a detection
MIN_PRESENCE = 0.5  # of a person in a region, as in MediaPipe's graphs
MIN_VISIBILITY = 0.5  # of a landmark: the network guesses where hidden ones are
_REACH = 2.0  # sides of the face's box from its middle to that of the detector's, which lies about the neck
_MARGIN = 1.25  # region over the body's circle
_LAYERS = ((8, 2), (16, 2), (32, 6))  # pixels per cell, anchors per cell
_VALUES = 5  # of a landmark: x, y, z in pixels of the input, logits of visibility and presence
_CENTRE, _RIM = 33, 34  # auxiliary landmarks: where the body is in the next picture

BODY_25 = (
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee",
    "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel", "RBigToe",
    "RSmallToe", "RHeel",
)  # fmt: skip
# For each key point, the landmarks of MediaPipe's 33 whose mean it is.
_FROM: tuple[tuple[int, ...], ...] = (
    (0,), (11, 12), (12,), (14,), (16,), (11,), (13,), (15,), (23, 24), (24,), (26,), (28,), (23,), (25,), (27,), (5,),
    (2,), (8,), (7,), (31,), (), (29,), (32,), (), (30,),
)  # fmt: skip

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the picture


@dataclass(frozen=True, slots=True)
class Region:
    """Hold the square of a picture in which a body is, in pixels: its middle, and half of its upward side."""

    x: float
    y: float
    up: tuple[float, float]

    def from_crop(self) -> Floats:
        """Return (2, 3), which takes pixels of the landmark network's input to pixels of the picture."""
        ux, uy = self.up
        linear = np.array([[-uy, -ux], [ux, -uy]]) / (PERSON / 2)
        return np.hstack((linear, (np.array([self.x, self.y]) - linear @ np.full(2, PERSON / 2))[:, None]))

    def scaled(self, scale: Scale) -> "Region":
        """Return the same square in the pixels of a picture that was scaled."""
        return Region(self.x * scale.x, self.y * scale.y, (self.up[0] * scale.mean, self.up[1] * scale.mean))


def scene(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (224, 224, 3) uint8: the whole picture as the detector takes it."""
    out = np.zeros((SCENE, SCENE, 3), np.uint8)
    letterbox(image, out)
    return out


def person_crop(image: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """Return (256, 256, 3) uint8: the region upright, black beyond the picture."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(image, region.from_crop(), (PERSON, PERSON), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(crop, np.uint8)


def find_person(
    boxes: NDArray[np.floating], logits: NDArray[np.floating], width: int, height: int, face: Box
) -> Region | None:
    """Return where the body of the `face` is; None if the detector found nobody near it.

    Args:
        boxes: (2254, 12) outputs of the detector.
        logits: (2254,) outputs of the detector.
        width: Pixels of the picture.
        height: Pixels of the picture.
        face: x, y, width and height of the face in pixels of the picture.
    """
    scale = SCENE / max(width, height)
    corner = np.array([SCENE - width * scale, SCENE - height * scale]) / 2
    sure = np.flatnonzero(logits > np.log(MIN_SCORE / (1 - MIN_SCORE)))
    points = boxes[sure].astype(np.float64).reshape(-1, 6, 2)  # centre and size of a box, four key points
    anchors = _ANCHORS[sure]
    x, y, w, h = face
    centres = (points[:, 0] + anchors - corner) / scale
    off = np.linalg.norm(centres - (x + w / 2, y + h / 2), axis=1) / max(w, h)
    if not len(sure) or off.min() > _REACH:
        return None
    best = np.argmax(
        logits[sure] - off
    )  # the likeliest of those that are near; the nose decides later whose body it is
    hips, rim = ((points[best, 2:4] + anchors[best] - corner) / scale).tolist()
    return _region(hips, rim)


def body_25(
    outputs: NDArray[np.floating], presence: float, region: Region, face: Box, width: int, height: int
) -> tuple[Floats | None, Region | None]:
    """Return the 25 key points of a body and the region to search in the next picture.

    Both are None if there is no body, or another person's: the nose must lie on the face.

    Args:
        outputs: (195,) outputs of the landmark network for `region`.
        presence: Probability that there is a body, 0 to 1.
        region: Where the network looked.
        face: x, y, width and height of the face in pixels of the picture.
        width: Pixels of the picture.
        height: Pixels of the picture.

    Returns:
        (25, 3) x and y as parts of the picture's height, and visibility; NaN for points that are not seen.
    """
    values = outputs.astype(np.float64).reshape(-1, _VALUES)
    points = np.hstack((values[:, :2], np.ones((len(values), 1)))) @ region.from_crop().T
    x, y, w, h = face
    nose = points[0]
    if presence < MIN_PRESENCE or not (x <= nose[0] <= x + w and y <= nose[1] <= y + h):
        return None, None
    visible = 1 / (1 + np.exp(-np.clip(values[:, 3:], -50, 50))).min(1)
    visible[((points < 0) | (points > (width, height))).any(1)] = 0
    body = np.full((len(BODY_25), 3), np.nan)
    for i, sources in enumerate(_FROM):
        seen = list(sources)
        if seen and visible[seen].min() >= MIN_VISIBILITY:
            body[i] = *(points[seen].mean(0) / height), visible[seen].min()
    return body, _region(points[_CENTRE].tolist(), points[_RIM].tolist())


def _region(middle: list[float], rim: list[float]) -> Region | None:
    ux, uy = _MARGIN * (rim[0] - middle[0]), _MARGIN * (rim[1] - middle[1])
    return Region(middle[0], middle[1], (ux, uy)) if hypot(ux, uy) >= 1 else None


def _anchors() -> Floats:
    """Return (2254, 2) anchor centres in pixels of the detector's input, in the order of its outputs."""
    layers = []
    for stride, per_cell in _LAYERS:
        centres = (np.arange(SCENE // stride) + 0.5) * stride
        y, x = np.meshgrid(centres, centres, indexing="ij")
        layers.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), per_cell, axis=0))
    return np.concatenate(layers)


_ANCHORS = _anchors()
