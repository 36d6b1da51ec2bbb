"""The demo's face: it smiles, is calm, is surprised, frowns and blinks, the same every time."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.capture.animation import BLINK_SECONDS, BLINKS, BOTTOM, LEFT, LENGTH, RIGHT, TOP, animated

MOUTH = np.s_[134:170, 196:252]
EYES = np.s_[94:108, 192:260]


def changed(portrait: NDArray[np.uint8], t: float, part: tuple[slice, slice]) -> float:
    """Return the mean difference of grey levels between the portrait and the face at `t` seconds."""
    return float(np.abs(animated(portrait, t)[part].astype(int) - portrait[part]).mean())


def test_it_begins_as_the_portrait_itself(portrait: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(animated(portrait, 0.0), portrait)


@pytest.mark.parametrize("t", [5.0, 8.0, 14.0])
def test_the_mouth_moves_and_what_surrounds_the_face_stays(portrait: NDArray[np.uint8], t: float) -> None:
    before = portrait.copy()
    assert changed(portrait, t, MOUTH) > 5
    outside = np.ones(portrait.shape[:2], bool)
    outside[TOP:BOTTOM, LEFT:RIGHT] = False
    np.testing.assert_array_equal(animated(portrait, t)[outside], portrait[outside])
    np.testing.assert_array_equal(portrait, before)


def test_the_lids_close_and_open_again(portrait: NDArray[np.uint8]) -> None:
    blink = BLINKS[0]
    assert changed(portrait, blink + BLINK_SECONDS / 2, EYES) > 5
    assert changed(portrait, blink + 1.01 * BLINK_SECONDS, EYES) == 0


def test_the_course_repeats(portrait: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(animated(portrait, 8.0), animated(portrait, 8.0 + LENGTH))
