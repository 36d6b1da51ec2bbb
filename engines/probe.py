"""Inputs to compare an engine on where none were recorded: a real face under many lights and framings, else noise."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays

# NASA's public-domain portrait of the astronaut Eileen Collins, aligned to the ArcFace-112 template: 112x112.
_FACE = Path(__file__).parent / "weights" / "probe_face.png"
COUNT = 64  # samples
_LARGE = 100_000  # numbers in a sample above which `_FEW` samples are made
_FEW = 8


def probe(inputs: Mapping[str, tuple[int, ...]], types: Mapping[str, str], count: int | None = None) -> Arrays:
    """Return `count` samples for inputs of these shapes (batch first) and numpy types, the same at every call.

    An input of uint8 pictures gets faces, any other standard normal noise. Inputs that were recorded of the model are
    better samples, where there are any.
    """
    rng = np.random.default_rng(0)
    if count is None:
        count = _FEW if sum(abs(prod(shape[1:])) for shape in inputs.values()) > _LARGE else COUNT
    made: Arrays = {}
    for name, shape in inputs.items():
        size = (count, *(max(d, 1) for d in shape[1:]))
        if types[name] == "uint8" and len(size) >= 4 and size[-1] in (3, 4):
            made[name] = _pictures(size)
        else:
            made[name] = rng.standard_normal(size).astype(types[name])
    return made


def _pictures(size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return `faces` in the shape `size` (..., height, width, 3 or 4); a fourth channel is zero."""
    *several, height, width, channels = size
    resized = np.stack([cv2.resize(face, (width, height)) for face in faces(prod(several))]).astype(np.uint8)
    if channels == 4:
        resized = np.concatenate((resized, np.zeros((*resized.shape[:3], 1), np.uint8)), axis=3)
    return resized.reshape(size)


def faces(count: int) -> NDArray[np.uint8]:
    """Return pictures (count, 112, 112, 3) uint8 RGB of one face under many framings and lights.

    The face is moved, turned, mirrored, partly covered, darkened and blurred, the same way at every call.
    """
    rng = np.random.default_rng(1)
    face = cv2.imdecode(np.frombuffer(_FACE.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert face is not None
    out = np.empty((count, 112, 112, 3), np.uint8)
    for i in range(count):
        turned = cv2.getRotationMatrix2D((56, 56), rng.uniform(-20, 20), rng.uniform(0.8, 1.3))
        matrix = np.asarray(turned, np.float64) + np.array([[0, 0, 1]]) * rng.uniform(-8, 8, (2, 1))
        picture = cv2.warpAffine(face, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE)
        if i % 2:
            picture = picture[:, ::-1]
        if i % 4 == 3:  # the mouth or the brows hidden
            picture = picture.copy()
            picture[76:] = picture[70] if i % 8 == 3 else 40
        picture = cv2.GaussianBlur(np.ascontiguousarray(picture), (0, 0), rng.uniform(0.1, 2.0))
        out[i] = np.clip(picture * rng.uniform(0.3, 1.2) + rng.normal(0, 4, picture.shape), 0, 255)
    return out
