"""Augment pictures as the papers' training does, on uint8 arrays; every frame of a clip is changed alike."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Greys of the landmark mask that stand for the face's two sides: brows, eyes.
SIDES = ((223, 191), (159, 127))
HUE, SATURATION, LIGHTNESS = 6.0, 0.1, 0.1  # TSAV changes them "slightly"; degrees, shares
MIMAMO_CROP = 0.85  # of the side
COLOUR_JITTER = (0.4, 0.4, 0.4, 0.1)  # descriptors: brightness, contrast, saturation (shares), hue (of a turn)

Bytes = NDArray[np.uint8]

_SWAP = np.arange(256, dtype=np.uint8)
for _one, _other in SIDES:
    _SWAP[_one], _SWAP[_other] = _other, _one


def flip(frames: Bytes) -> Bytes:
    """Return the mirror image of (..., height, width, channels) RGB frames."""
    return np.ascontiguousarray(frames[..., ::-1, :])


def flip_masks(masks: Bytes) -> Bytes:
    """Return the mirror image of (..., height, width) landmark masks, with left and right greys exchanged."""
    return np.ascontiguousarray(_SWAP[masks][..., ::-1])


def flip_landmarks(landmarks: NDArray[np.floating], width: int) -> NDArray[np.floating]:
    """Return the mirror image of (..., 68, 2) landmarks in a picture of `width` pixels, in the mirror's order."""
    mirrored = landmarks[..., _MIRROR, :].copy()
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return mirrored


def jitter_hsv(frames: Bytes, rng: np.random.Generator) -> Bytes:
    """Return (time, height, width, 3) RGB with a small common change of hue, saturation and lightness."""
    hue, saturation, lightness = rng.uniform(-1, 1, 3) * (HUE, SATURATION, LIGHTNESS)
    hsv = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2HSV) for frame in frames]).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + hue / 2) % 180  # OpenCV counts hue in half degrees
    hsv[..., 1] = np.clip(hsv[..., 1] * (1 + saturation), 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * (1 + lightness), 0, 255)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) for frame in hsv.astype(np.uint8)])


def jitter_colour(image: Bytes, rng: np.random.Generator) -> Bytes:
    """Return (height, width, 3) RGB with brightness, contrast, saturation and hue changed, for the descriptors."""
    brightness, contrast, saturation = 1 + rng.uniform(-1, 1, 3) * COLOUR_JITTER[:3]
    hue = rng.uniform(-1, 1) * COLOUR_JITTER[3]
    x = image.astype(np.float32) * brightness
    x = (x - x.mean()) * contrast + x.mean()
    grey = (x @ np.array((0.299, 0.587, 0.114), np.float32))[..., None]
    x = np.clip((x - grey) * saturation + grey, 0, 255).astype(np.uint8)
    hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + round(hue * 180)) % 180
    out: Bytes = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return out


def crop(frames: Bytes, share: float, rng: np.random.Generator) -> Bytes:
    """Return a square of `share` of the side of (time, height, width, channels), at one place for all frames."""
    side = round(frames.shape[1] * share)
    y, x = rng.integers(0, frames.shape[1] - side + 1), rng.integers(0, frames.shape[2] - side + 1)
    return frames[:, y : y + side, x : x + side]


def _mirror_order() -> NDArray[np.int64]:
    """Return which of the 68 points takes each one's place in the mirror."""
    order = np.arange(68)
    order[:17] = order[:17][::-1]  # jaw
    order[17:27] = order[17:27][::-1]  # brows
    order[31:36] = order[31:36][::-1]  # nose base
    order[36:48] = (45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40)  # eyes
    order[48:60] = (54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55)  # outer lip
    order[60:68] = (64, 63, 62, 61, 60, 67, 66, 65)  # inner lip
    return order


_MIRROR = _mirror_order()
