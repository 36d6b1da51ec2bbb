"""Bilinear views of a picture at half the cost: OpenCV's loops are fast for one and four channels, not for three.

The pixels are the same. Only the part that a view needs gets a fourth channel.
"""

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

_own = threading.local()  # each thread's picture and view of four channels


def draw_view(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], reach: tuple[float, float, float], out: NDArray[np.uint8]
) -> None:
    """Draw into `out` the part of `image` that it shows, with the picture's border replicated.

    Args:
        image: (height, width, 3) uint8.
        matrix: (2, 3), which takes pixels of `out` to those of `image`.
        reach: x, y and half the side, in pixels, of an upright square of `image` that holds all of the view.
        out: (size, size, 3) uint8, written to.
    """
    height, width, size = image.shape[0], image.shape[1], out.shape[0]
    if getattr(_own, "shape", None) != (height, width, size):
        _own.shape = height, width, size
        _own.picture = np.empty((height, width, 4), np.uint8)
        _own.view = np.empty((size, size, 4), np.uint8)
    x, y, half = reach
    rows, columns = _span(y, half, height), _span(x, half, width)
    cv2.cvtColor(image[rows, columns], cv2.COLOR_RGB2RGBA, dst=_own.picture[rows, columns])
    cv2.warpAffine(
        _own.picture,
        matrix,
        (size, size),
        dst=_own.view,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    cv2.cvtColor(_own.view, cv2.COLOR_RGBA2RGB, dst=out)


def _span(middle: float, half: float, length: int) -> slice:
    """Return the pixels of a line of `length` within `half` of `middle`, and their neighbours; at least one pixel."""
    first = min(max(int(middle - half) - 2, 0), length - 1)
    return slice(first, min(max(int(middle + half) + 3, first + 1), length))
