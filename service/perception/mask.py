"""The landmark picture that TSAV reads as its fourth channel (Kuhnke et al. 2020)."""

import cv2
import numpy as np
from numpy.typing import NDArray

MASK_SIZE = 112  # pixels

# First and last landmark (iBUG order), closed, grey; in drawing order, so that a later part overwrites an earlier one.
PARTS = (
    (48, 59, True, 255),  # outer lip
    (17, 21, False, 223),  # brow A
    (22, 26, False, 191),  # brow B
    (36, 41, True, 159),  # eye A
    (42, 47, True, 127),  # eye B
    (28, 30, False, 63),  # nose
    (6, 10, False, 31),  # chin
)
_FAR = 10_000.0  # pixels; points beyond are drawn there, because OpenCV's drawing takes no larger coordinates


def mask_of(landmarks: NDArray[np.floating], matrix: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the (112, 112) uint8 picture of `landmarks`, (68, 2) pixels of the frame, which `matrix` (2, 3) aligns."""
    return draw_mask(np.hstack([landmarks, np.ones((len(landmarks), 1))]) @ matrix.T)


def draw_mask(points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the (112, 112) uint8 picture of `points`, (68, 2) pixels of the aligned crop, rounded half to even."""
    mask = np.zeros((MASK_SIZE, MASK_SIZE), np.uint8)
    rounded = np.rint(np.clip(points, -_FAR, _FAR)).astype(np.int32)
    for first, last, closed, grey in PARTS:
        cv2.polylines(mask, [rounded[first : last + 1]], closed, grey, thickness=1, lineType=cv2.LINE_8)
    return mask
