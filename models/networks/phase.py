"""Compute phase differences: how a face moved, by scale and orientation, over 13 frames.

The temporal input of MIMAMO Net (Deng, Chen, Pan and Shi 2020, as published in wtomin/MIMAMO-Net). numpy only.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.networks import steerable_pyramid

FRAMES = 13  # give 12 differences
SIZE = 48  # pixels
LANCZOS = 3  # lobes
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
BLUR_TAPS = 11
BLUR_SIGMA = 2.0  # pixels
LIMIT = 5 * np.pi  # radians

Unwrap = Literal["reference", "correct"]


def grey(faces: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (frames, 48, 48) in 0..1 of (frames, height, width, 3) RGB, by the published Lanczos filter."""
    luma = np.rint(faces @ np.array(LUMA))  # (frames, height, width), whole numbers as in an 8 bit picture
    small: NDArray[np.float64] = _lanczos(faces.shape[1]) @ luma @ _lanczos(faces.shape[2]).T
    return np.clip(np.rint(small), 0, 255) / 255


@cache
def _lanczos(size: int) -> NDArray[np.float64]:
    """Return (48, size) weights that resample `size` pixels, the filter widened by the ratio against aliasing."""
    ratio = size / SIZE
    stretch = max(ratio, 1.0)
    distance = (np.arange(size) + 0.5 - (np.arange(SIZE)[:, None] + 0.5) * ratio) / stretch
    weights = np.where(np.abs(distance) < LANCZOS, np.sinc(distance) * np.sinc(distance / LANCZOS), 0)
    normalised: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return normalised


def phase_differences(
    frames: NDArray[np.floating], unwrap: Unwrap = "reference"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the network's `phase_0` (24, 48, 48) and `phase_1` (24, 24, 24), radians, channel = band * 12 + k.

    `frames`: (13, 48, 48) grey in [0, 1], oldest first. `unwrap`: see `from_coefficients`.
    """
    if frames.shape != (FRAMES, SIZE, SIZE):
        raise ValueError(f"Phase differences need frames of shape {(FRAMES, SIZE, SIZE)}, not {frames.shape}.")
    return from_coefficients(steerable_pyramid.coefficients(frames), unwrap)


def from_coefficients(
    levels: Sequence[NDArray[np.complexfloating]], unwrap: Unwrap = "reference"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the same from cached pyramid `levels` (13, 2, size, size) and (13, 2, size / 2, size / 2).

    `unwrap` "reference" leaves falls of more than pi as they are, as the published code does and its weights expect;
    "correct" unwraps both directions. Differences themselves cannot be cached: they depend on the window's first frame.
    """
    first, second = (_differences(level, unwrap) for level in levels)
    return first, second


def _differences(level: NDArray[np.complexfloating], unwrap: Unwrap) -> NDArray[np.float32]:
    phase = np.angle(level).astype(np.float64)  # (13, 2, size, size)
    amplitude = np.abs(level) + 1e-10
    phase = np.unwrap(phase, axis=0) if unwrap == "correct" else _unwrap_as_published(phase)
    smooth = _blur(amplitude * phase) / _blur(amplitude)
    difference = np.diff(smooth, axis=0)  # (12, 2, size, size)
    difference -= difference.mean((-2, -1), keepdims=True)
    difference = np.clip(difference, -LIMIT, LIMIT).swapaxes(0, 1)  # (2, 12, size, size): band-major
    return difference.reshape(-1, *difference.shape[2:]).astype(np.float32)


def _unwrap_as_published(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unwrap along axis 0; fmod keeps the sign of its dividend, so that only rises of more than pi are wrapped."""
    step = np.diff(phase, axis=0)
    correction = np.where(np.abs(step) < np.pi, 0, np.fmod(step + np.pi, 2 * np.pi) - np.pi - step)
    unwrapped = phase.copy()
    unwrapped[1:] += np.cumsum(correction, axis=0)
    return unwrapped


def _blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blur the last two axes with zeros beyond the edges; not normalised, because only ratios are used."""
    offsets = np.arange(BLUR_TAPS) - BLUR_TAPS // 2
    taps = np.exp(-(offsets**2) / (2 * BLUR_SIGMA**2))
    size = x.shape[-1]
    distance = np.arange(size)[:, None] - np.arange(size)
    kernel = np.where(np.abs(distance) <= BLUR_TAPS // 2, taps[np.clip(distance + BLUR_TAPS // 2, 0, BLUR_TAPS - 1)], 0)
    blurred: NDArray[np.float64] = kernel @ x @ kernel.T
    return blurred
