"""Views through four channels are the views through three, to the bit, wherever they look."""

from math import cos, sin

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.perception.warp import draw_view

SHAPES = ((90, 160, 3), (61, 47, 3), (1, 5, 3))


@given(
    st.sampled_from(SHAPES),
    st.integers(0, 1000),
    st.floats(-300, 400),
    st.floats(-300, 300),
    st.floats(1, 600),
    st.floats(-3.2, 3.2),
)
@settings(max_examples=300, deadline=None)
def test_a_view_is_what_opencv_draws(
    shape: tuple[int, ...], seed: int, x: float, y: float, side: float, angle: float
) -> None:
    picture = np.random.default_rng(seed).integers(
        0, 256, shape, np.uint8
    )  # another one each time: nothing is left over
    size = 48
    a, b = side / size * cos(angle), side / size * sin(angle)
    matrix = np.array([[a, -b, x - (a - b) * size / 2], [b, a, y - (a + b) * size / 2]])
    out = np.zeros((size, size, 3), np.uint8)
    draw_view(picture, matrix, (x, y, (abs(a) + abs(b)) * size / 2), out)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(picture, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(out, expected)
