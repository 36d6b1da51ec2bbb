"""A portrait whose mouth, brows and lids move: a picture warped by a written course of expressions.

Each expression is a field that says how far every pixel of the face comes from its place in the portrait, made once of
a few smooth movements: the mouth line bends, the lips meet or part, the brows rise or draw together, the lids close. A
frame is a mixture of two fields and one remapping. The course depends on time alone, so that the demo is the same every
time.
"""

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]  # (height, width) of the moving part

# All places are pixels of NASA's 512x512 portrait of Eileen Collins.
LEFT, TOP, RIGHT, BOTTOM = 160, 60, 292, 204  # the part that moves
MOUTH = (223.0, 145.5)  # middle of the line between the lips
MOUTH_HALF = 23.0  # from there to a corner
MOUTH_RISE = 5.5  # of the corners above the middle: the portrait smiles
LIPS_APART = 4.2  # from the mouth line to each lip, in the middle
BROWS = ((201.0, 87.5), (250.0, 88.5))
INNER_BROWS = ((215.0, 89.0), (236.0, 89.5))
LOWER_LIDS = ((203.5, 104.0, 11.0), (247.0, 106.0, 11.0))  # middle and half width
EYE_HEIGHT = 6.0
INSIDE = (52.0, 26.0, 28.0)  # RGB of an open mouth


@dataclass(frozen=True, slots=True)
class Expression:
    """Hold how far each movement goes; all zeros give the portrait itself."""

    bend: float = 0.0  # pixels that the corners of the mouth go down
    narrow: float = 0.0  # share by which the mouth becomes narrower
    close: float = 0.0  # 1: the lips meet
    drop: float = 0.0  # pixels that the lower lip and the chin go down
    raise_brows: float = 0.0  # pixels
    draw_brows: float = 0.0  # pixels that the inner brows go down, and 0.6 of it towards each other
    shut: float = 0.0  # 1: the lids are closed


SMILE = Expression()
CALM = Expression(bend=7.0, narrow=0.36, close=1.0)
SURPRISE = Expression(bend=8.0, narrow=0.45, drop=13.0, raise_brows=8.0, shut=-0.3)
FROWN = Expression(bend=17.0, narrow=0.3, close=1.0, draw_brows=8.0)
BLINK = Expression(shut=1.0)

# Seconds and expressions; between two of them the face moves smoothly. After the last the course begins again.
COURSE = (
    (0.0, SMILE), (3.5, SMILE), (4.3, CALM), (6.5, CALM), (6.9, SURPRISE), (9.0, SURPRISE), (9.8, CALM),
    (11.5, CALM), (12.5, FROWN), (15.5, FROWN), (16.5, CALM), (18.0, CALM), (19.0, SMILE), (20.0, SMILE),
)  # fmt: skip
LENGTH = COURSE[-1][0]  # s
BLINKS = (1.7, 5.4, 10.6, 14.2, 17.3)  # s of the course at which the lids begin to close
BLINK_SECONDS = 0.26  # from open to open


def animated(portrait: NDArray[np.uint8], t: float) -> NDArray[np.uint8]:
    """Return a copy of the (512, 512, 3) RGB `portrait` with the expression of `COURSE` at `t` seconds."""
    t %= LENGTH
    after = next(n for n, (start, _) in enumerate(COURSE) if start > t)
    (start, before), (end, then) = COURSE[after - 1], COURSE[after]
    share = (t - start) / (end - start)
    share = share * share * (3 - 2 * share)
    (x0, y0, dark0), (x1, y1, dark1) = field(before), field(then)
    x, y = x0 + np.float32(share) * (x1 - x0), y0 + np.float32(share) * (y1 - y0)
    for blink in BLINKS:
        if blink < t < blink + BLINK_SECONDS:
            shut = np.float32(0.5 - 0.5 * math.cos(2 * math.pi * (t - blink) / BLINK_SECONDS))
            still = field(SMILE)
            closed = field(BLINK)
            x, y = x + shut * (closed[0] - still[0]), y + shut * (closed[1] - still[1])
    face = cv2.remap(portrait, x, y, cv2.INTER_LINEAR)
    dark = (1 - share) * dark0 + share * dark1
    if dark.any():
        face = (face + dark[..., None] * (np.array(INSIDE, np.float32) - face)).astype(np.uint8)
    image = portrait.copy()
    image[TOP:BOTTOM, LEFT:RIGHT] = face
    return image


@cache
def field(of: Expression) -> tuple[Plane, Plane, Plane]:
    """Return where each pixel of the moving part comes from, x and y, and how dark the open mouth makes it, 0 to 1."""
    y, x = np.mgrid[TOP:BOTTOM, LEFT:RIGHT].astype(np.float32)
    dx, dy = np.zeros_like(x), np.zeros_like(x)
    for (cx, cy), side in zip(INNER_BROWS, (1, -1), strict=True):
        near = _bell(x - cx, 10) * _bell(y - cy, 8)
        dx += 0.6 * of.draw_brows * side * near
        dy += of.draw_brows * near
    for cx, cy in BROWS:
        dy -= of.raise_brows * _bell(x - cx, 26) * _bell(y - cy, 10)
    for cx, cy, half in LOWER_LIDS:
        above = np.minimum(y - (cy - 0.12 * np.abs(x - cx)), 0)
        opened = np.clip(1 - ((x - cx) / half) ** 2, 0, 1)
        dy += of.shut * EYE_HEIGHT * opened * _bell(above, 6) * (above < 0)
    u = (x - MOUTH[0]) / MOUTH_HALF
    around = _bell(x - MOUTH[0], 30) * _bell(y - MOUTH[1] - 2, 22)
    dx -= of.narrow * (x - MOUTH[0]) * around
    dy += of.bend * np.minimum(u * u, 1.6) * _bell(x - MOUTH[0], 34) * _bell(y - MOUTH[1], 15)
    # Above and below the mouth line the lips are looked up further out where they meet, further in where they part.
    line = MOUTH[1] + (of.bend - MOUTH_RISE) * np.minimum(u * u, 1.6)
    v = y - line
    within = np.clip(1 - (u / (1 - of.narrow)) ** 2, 0, 1)
    dy -= np.sign(v) * of.close * LIPS_APART * within * _bell(v, 10)
    below = np.clip(v / (2 * LIPS_APART + of.drop), 0, 1)
    jaw = np.sqrt(within) * np.clip((BOTTOM - 6 - y) / 30, 0, 1)
    dy += of.drop * below * jaw
    open_half = np.maximum(0.45 * of.drop * np.sqrt(np.clip(1 - (u / (0.8 - of.narrow)) ** 2, 0, 1)), 1e-6)
    dark = np.clip(2.5 * (1 - np.abs(v - 0.55 * of.drop) / open_half), 0, 1) * (of.drop > 0)
    edge = np.minimum.reduce((x - LEFT, RIGHT - 1 - x, y - TOP, BOTTOM - 1 - y))
    fade = np.clip(edge / 10, 0, 1)
    return (x - fade * dx).astype(np.float32), (y - fade * dy).astype(np.float32), dark.astype(np.float32)


def _bell(distance: Plane, width: float) -> Plane:
    return np.asarray(np.exp(-((distance / np.float32(width)) ** 2)), np.float32)
