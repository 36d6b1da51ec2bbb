"""Hands, masks, microphones and other things drawn over faces, with how much of nose and mouth they cover.

They teach the network to say that a face is covered, and to be less sure of it. Nothing of them is a photograph but the
skin: textures are tones near the face's own, clouds, or a part of another face of the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from models.face_mt.network import CROP

BANK = 600  # shapes, drawn once
SEED = 0
SHADE = -0.45  # share of the light that the gaps between fingers lose
FROM_BELOW, UPRIGHT = 0.7, 40.0  # share of the hands that come from below, and degrees that they stand aslant
CURLED = 0.3  # share of the hands whose fingers are bent
# Nose and mouth in the ArcFace-112 crop: centre and radius in pixels.
NOSE_MOUTH, RADIUS = (56.0, 84.0), 21.0
AT_MOUTH = 0.75  # share that is put over nose and mouth; the rest lies anywhere
HAND, BLOB, BAR, MASK, MICROPHONE = range(5)
_SHARES = (0.45, 0.20, 0.12, 0.13, 0.10)
_SIDE = 2 * CROP  # of a drawn shape, in whose middle the thing is

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Bank:
    """Hold drawn shapes: how opaque they are (n, 224, 224), their shading, and their kinds (n,)."""

    opacity: Tensor
    shading: Tensor
    kind: Tensor


@cache
def bank(count: int = BANK, seed: int = SEED) -> Bank:
    """Return `count` shapes drawn from `seed`."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(_DRAW), count, p=_SHARES)
    pictures = [_DRAW[kind](rng) for kind in kinds]
    soft = [cv2.GaussianBlur(opacity, (0, 0), float(rng.uniform(0.4, 1.2))) for opacity, _ in pictures]
    return Bank(
        torch.from_numpy(np.stack(soft)), torch.from_numpy(np.stack([s for _, s in pictures])), torch.from_numpy(kinds)
    )


def cover(grey: Tensor, shapes: Bank, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return (n, 112, 112) float `grey` with a thing over each face, and the covered share (n,) of nose and mouth."""
    n = len(grey)
    which = torch.randint(0, len(shapes.kind), (n,), generator=generator)
    opacity, shading = _placed(shapes, which, n, generator)
    skin = grey[:, 40:90, 35:77].flatten(1).median(1).values  # cheeks, nose and mouth
    like_skin = torch.rand(n, generator=generator) < 0.6
    tone = torch.where(
        like_skin, skin * (1 + 0.15 * torch.randn(n, generator=generator)), 255 * torch.rand(n, generator=generator)
    )
    clouds = F.interpolate(torch.rand(n, 1, 5, 5, generator=generator), size=(CROP, CROP), mode="bilinear")[:, 0] - 0.5
    strength = 0.5 * torch.rand(n, 1, 1, generator=generator)
    texture = tone[:, None, None] * (1 + clouds * strength) * (1 + shading)
    texture = texture + 3 * torch.randn(n, CROP, CROP, generator=generator)
    others = grey[torch.randperm(n, generator=generator)].flip(1)[:, 30:86, 28:84]
    others = F.interpolate(others[:, None], size=(CROP, CROP), mode="bilinear")[:, 0] * (1 + shading)
    texture = torch.where((torch.rand(n, generator=generator) < 0.3)[:, None, None], others, texture)
    covered = (opacity * _region()).sum((1, 2)) / _region().sum()
    return (grey * (1 - opacity) + texture * opacity).clamp(0, 255), covered


def _placed(shapes: Bank, which: Tensor, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return opacity and shading (n, 112, 112) of the shapes, each moved to its place."""

    def normal(spread: float) -> Tensor:
        return spread * torch.randn(n, generator=generator)

    near = torch.rand(n, generator=generator) < AT_MOUTH
    x, y = NOSE_MOUTH
    x_at = torch.where(near, x + normal(10), CROP * torch.rand(n, generator=generator))
    y_at = torch.where(near, y + 2 + normal(11), CROP * torch.rand(n, generator=generator))
    mask = shapes.kind[which] == MASK  # masks sit where masks sit
    x_at, y_at = torch.where(mask, x + normal(2.5), x_at), torch.where(mask, y + 6 + normal(4), y_at)
    left = (CROP - x_at).round().long().clamp(0, CROP).tolist()
    top = (CROP - y_at).round().long().clamp(0, CROP).tolist()
    places = list(zip(which.tolist(), top, left, strict=True))
    opacity, shading = (
        torch.stack([pictures[i, t : t + CROP, s : s + CROP] for i, t, s in places])
        for pictures in (shapes.opacity, shapes.shading)
    )
    return opacity, shading


@cache
def _region() -> Tensor:
    y, x = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    return (((x - NOSE_MOUTH[0]) ** 2 + (y - NOSE_MOUTH[1]) ** 2) <= RADIUS**2).float()


def _empty() -> Any:
    return np.zeros((_SIDE, _SIDE), np.float32)


def _point(place: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.rint(place).astype(int).tolist()
    return x, y


def _hand(rng: np.random.Generator) -> tuple[Picture, Picture]:
    opacity, gaps = _empty(), _empty()
    length, width = rng.uniform(30, 60), rng.uniform(8, 15)
    # Most hands come from below: their fingers point up, as y runs down.
    angle = rng.normal(-np.pi / 2, np.radians(UPRIGHT)) if rng.random() < FROM_BELOW else rng.uniform(0, 2 * np.pi)
    curled = rng.random() < CURLED  # fingers bent to a fist, as in front of a mouth
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    palm = np.array([CROP, CROP]) - along * length * 0.7
    cv2.ellipse(opacity, _point(palm), (int(length * 0.55), int(width * 2.1)), float(np.degrees(angle)), 0, 360, 1, -1)
    cv2.line(opacity, _point(palm), _point(palm - along * 120), 1, int(width * 3))  # the arm
    fingers = int(rng.integers(2, 6))
    for i in range(fingers):
        offset = i - (fingers - 1) / 2
        base = palm + across * offset * width * rng.uniform(0.85, 1.05)
        reach = rng.uniform(0.2, 0.5) if curled else rng.uniform(1.0, 1.6)
        tip = base + (along + across * offset * rng.uniform(0, 0.12)) * length * reach
        cv2.line(opacity, _point(base), _point(tip), 1, int(width * 0.9), cv2.LINE_AA)
        edge = across * width * 0.5
        cv2.line(gaps, _point(base + edge), _point(tip + edge), 1, 2, cv2.LINE_AA)
    return opacity, SHADE * cv2.GaussianBlur(gaps, (0, 0), 1.2)


def _blob(rng: np.random.Generator) -> tuple[Picture, Picture]:
    opacity = _empty()
    count = int(rng.integers(5, 12))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = rng.uniform(14, 50) * rng.uniform(0.6, 1.2, count)
    outline = np.stack([CROP + radius * np.cos(angle), CROP + radius * np.sin(angle)], 1)
    cv2.fillPoly(opacity, [outline.astype(np.int32)], 1)
    return opacity, _empty()


def _bar(rng: np.random.Generator) -> tuple[Picture, Picture]:
    opacity = _empty()
    size = (float(rng.uniform(16, 78)), float(rng.uniform(10, 58)))
    corners = cv2.boxPoints(((CROP, CROP), size, float(rng.uniform(-40, 40))))
    cv2.fillPoly(opacity, [corners.astype(np.int32)], 1)
    return opacity, _empty()


def _mask(rng: np.random.Generator) -> tuple[Picture, Picture]:
    opacity, folds = _empty(), _empty()
    w, h = rng.uniform(26, 44), rng.uniform(20, 34)
    outline = np.array([[-1, -0.6], [-0.35, -1], [0.35, -1], [1, -0.6], [0.75, 1], [0, 1.25], [-0.75, 1]]) * [w, h]
    cv2.fillPoly(opacity, [(outline + CROP).astype(np.int32)], 1)
    for k in range(int(rng.integers(0, 4))):
        y = int(CROP - h * 0.4 + k * h * 0.4)
        cv2.line(folds, (int(CROP - w), y), (int(CROP + w), y + int(rng.integers(-3, 4))), 1, 1, cv2.LINE_AA)
    return opacity, -0.3 * folds


def _microphone(rng: np.random.Generator) -> tuple[Picture, Picture]:
    opacity = _empty()
    radius, angle = int(rng.uniform(9, 20)), rng.uniform(0.15 * np.pi, 0.85 * np.pi)
    cv2.circle(opacity, (CROP, CROP), radius, 1, -1)
    end = (int(CROP + 200 * np.cos(angle)), int(CROP + 200 * np.sin(angle)))
    cv2.line(opacity, (CROP, CROP), end, 1, int(radius * 1.1))
    return opacity, _empty()


_DRAW: tuple[Callable[[np.random.Generator], tuple[Picture, Picture]], ...] = (_hand, _blob, _bar, _mask, _microphone)
