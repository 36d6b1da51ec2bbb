"""Aligned crops as bad cameras would have given them, one fault at a time and by degrees: for robustness curves."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]
FACE_WIDTH = 76.0  # pixels between the cheekbones in the 112 crop: what "40 px wide" is measured by


def blur(crop: Crop, sigma: float) -> Crop:
    """Blur by a Gaussian of `sigma` pixels of the crop."""
    return crop if sigma == 0 else np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8)


def brightness(crop: Crop, share: float) -> Crop:
    """Multiply all grey levels by `share`, rounded as a camera does."""
    return np.asarray(np.rint(crop.astype(np.float32) * share).clip(0, 255), np.uint8)


def rotation(crop: Crop, degrees: float) -> Crop:
    """Return the crop turned: what is left when alignment fails; the service turns faces upright before."""
    matrix = cv2.getRotationMatrix2D((55.5, 71.0), degrees, 1.0)
    return np.asarray(cv2.warpAffine(crop, matrix, (112, 112), flags=cv2.INTER_CUBIC), np.uint8)


def width(crop: Crop, pixels: float) -> Crop:
    """Return the crop of a face that was only `pixels` wide in the camera's picture."""
    side = max(4, round(112 * pixels / FACE_WIDTH))
    if side >= 112:
        return crop
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (112, 112), interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(crop: Crop, quality: float) -> Crop:
    """Return the crop after compression as a JPEG file of that quality."""
    _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def occlusion(crop: Crop, share: float) -> Crop:
    """Return the crop with a grey bar over the lowest `share` of the face, as a mask or a hand covers the mouth."""
    covered = crop.copy()
    if share:
        covered[round(110 - 88 * share) :] = 128
    return covered


# Fault -> (function, degrees from none to strong, what the number is).
FAULTS: dict[str, tuple[Callable[[Crop, float], Crop], tuple[float, ...], str]] = {
    "blur": (blur, (0, 1, 2, 3, 4), "sigma, px of the 112 crop"),
    "brightness": (brightness, (1.0, 0.7, 0.4, 0.2, 0.1), "share of the light"),
    "rotation": (rotation, (0, 10, 20, 30, 45), "degrees, after alignment"),
    "width": (width, (76, 56, 40, 30, 20), "px of face width"),
    "JPEG": (jpeg, (95, 50, 30, 15, 8), "quality"),
    "occlusion": (occlusion, (0.0, 0.15, 0.3, 0.45), "share covered from below"),
}
