"""Drawn faces, from stick figures to flat cartoons: what reads faces must not read these, so they teach doubt."""

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from models.face_mt.network import CROP

# Where the ArcFace-112 template has eyes, nose and mouth, pixels; perception aligns a drawing to it like a face.
_EYES, _NOSE, _MOUTH = ((38, 52), (74, 52)), (56, 72), (56, 92)


@dataclass(frozen=True)
class _Pens:
    """Hold the grey levels of a drawing, and the width of its lines in pixels."""

    paper: int
    skin: int
    ink: int
    white: int
    width: int


def drawings(n: int, generator: Generator) -> Tensor:
    """Return (n, 112, 112) uint8 drawn faces, each different."""
    rng = np.random.default_rng(int(torch.randint(0, 2**31, (1,), generator=generator)))
    return torch.from_numpy(np.stack([_drawing(rng) for _ in range(n)]))


def _drawing(rng: np.random.Generator) -> NDArray[np.uint8]:
    paper = int(rng.integers(90, 256))
    filled = rng.random() < 0.6
    skin = int(rng.integers(110, 250)) if filled else paper
    ink = int(rng.integers(0, 80))
    pens = _Pens(paper, skin, ink, int(rng.integers(max(skin - 20, 200), 256)), int(rng.integers(1, 4)))
    if rng.random() < 0.1:  # white on a blackboard
        pens = _Pens(255 - pens.paper, 255 - pens.skin, 255 - pens.ink, 255 - pens.white, pens.width)
    picture: Any = np.full((CROP, CROP), pens.paper, np.uint8)
    head = (int(rng.integers(44, 62)), int(rng.integers(56, 80)))
    centre = _near(rng, (56, 66), 4)
    cv2.ellipse(picture, centre, head, 0, 0, 360, pens.skin, -1)
    cv2.ellipse(picture, centre, head, 0, 0, 360, pens.ink, pens.width, cv2.LINE_AA)
    if rng.random() < 0.5:  # hair
        hair = int(rng.integers(0, 200))
        cv2.ellipse(picture, (centre[0], centre[1] - head[1] + 12), (head[0], 26), 0, 180, 360, hair, -1)
    _eyes(picture, rng, pens)
    _nose(picture, rng, pens)
    _mouth(picture, rng, pens)
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 2.0)))
    if rng.random() < 0.4:  # photographed from paper
        grainy = picture + rng.normal(0, rng.uniform(1, 6), picture.shape)
        picture = np.clip(grainy, 0, 255).astype(np.uint8)
    return cast(NDArray[np.uint8], picture)


def _near(rng: np.random.Generator, point: tuple[int, int], spread: float) -> tuple[int, int]:
    x, y = np.rint(rng.normal(point, spread)).astype(int).tolist()
    return x, y


def _eyes(picture: NDArray[np.uint8], rng: np.random.Generator, pens: _Pens) -> None:
    style, size, brow = rng.random(), int(rng.integers(2, 6)), rng.random() < 0.7
    wide, high, tilt = int(rng.integers(6, 14)), int(rng.integers(3, 9)), float(rng.uniform(-25, 25))
    lift, curve = int(rng.integers(9, 18)), int(rng.integers(2, 8))
    for side, place in zip((1, -1), _EYES, strict=True):
        x, y = _near(rng, place, 1.5)
        if style < 0.35:
            cv2.circle(picture, (x, y), size, pens.ink, -1, cv2.LINE_AA)
        elif style < 0.9:
            cv2.ellipse(picture, (x, y), (wide, high), 0, 0, 360, pens.white, -1, cv2.LINE_AA)
            cv2.ellipse(picture, (x, y), (wide, high), 0, 0, 360, pens.ink, 1, cv2.LINE_AA)
            cv2.circle(picture, (x, y), min(size, high), pens.ink, -1, cv2.LINE_AA)
        else:  # shut
            cv2.ellipse(picture, (x, y), (wide, high), 0, 0, 180, pens.ink, pens.width, cv2.LINE_AA)
        if brow:
            cv2.ellipse(picture, (x, y - lift + curve), (wide + 2, curve), side * tilt, 180, 360, pens.ink, pens.width)


def _nose(picture: NDArray[np.uint8], rng: np.random.Generator, pens: _Pens) -> None:
    x, y = _near(rng, _NOSE, 1.5)
    style = rng.random()
    if style < 0.5:
        points = np.array([(x, y - 16), (x - int(rng.integers(2, 8)), y), (x + int(rng.integers(0, 6)), y + 1)])
        cv2.polylines(picture, [points.reshape(-1, 1, 2)], False, pens.ink, 1, cv2.LINE_AA)
    elif style < 0.8:
        cv2.ellipse(picture, (x, y), (int(rng.integers(3, 8)), 4), 0, 0, 180, pens.ink, 1, cv2.LINE_AA)


def _mouth(picture: NDArray[np.uint8], rng: np.random.Generator, pens: _Pens) -> None:
    x, y = _near(rng, _MOUTH, 2)
    wide, high = int(rng.integers(8, 24)), int(rng.integers(1, 14))
    style = rng.random()
    if style < 0.3:  # a smile or its opposite
        start = 0 if rng.random() < 0.6 else 180
        cv2.ellipse(picture, (x, y - (high if start == 0 else -high)), (wide, high), 0, start, start + 180, pens.ink,
                    pens.width, cv2.LINE_AA)  # fmt: skip
    elif style < 0.5:
        cv2.line(picture, (x - wide, y), (x + wide, y + int(rng.integers(-4, 5))), pens.ink, pens.width, cv2.LINE_AA)
    else:  # lips, or open
        fill = int(rng.integers(0, 160))
        cv2.ellipse(picture, (x, y), (wide, max(3, high)), 0, 0, 360, fill, -1, cv2.LINE_AA)
        if rng.random() < 0.5:
            cv2.line(picture, (x - wide, y), (x + wide, y), pens.ink, 1, cv2.LINE_AA)
