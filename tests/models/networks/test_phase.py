"""Phase differences are the published implementation's, and see motion."""

import numpy as np
import pytest
from golden import networks, recipe

from models.networks import phase, steerable_pyramid


@pytest.fixture(scope="module")
def arrays():
    return networks.load("mimamo_phase")


def test_pyramid_coefficients_are_the_published_ones(arrays):
    levels = steerable_pyramid.coefficients(arrays["frames"])
    for name, level in zip(("coeff_level1", "coeff_level2"), levels, strict=True):
        expected = arrays[name][..., 0] + 1j * arrays[name][..., 1]  # (band, frame, y, x)
        np.testing.assert_allclose(level.swapaxes(0, 1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("unwrap", ["reference", "correct"])
def test_phase_differences_are_the_published_ones(arrays, unwrap):
    frames = recipe.grey_frames(networks.SEED)
    assert recipe.sha(frames) == str(arrays["frames_sha256"])
    for k, difference in enumerate(phase.phase_differences(frames, unwrap)):
        np.testing.assert_allclose(difference, arrays[f"phase_{k}_{unwrap}"], atol=1e-4, rtol=0)


def test_the_two_ways_to_unwrap_differ(arrays):
    ways = [phase.phase_differences(arrays["frames"], unwrap)[0] for unwrap in ("reference", "correct")]
    assert np.abs(ways[0] - ways[1]).max() > 1


def test_a_still_picture_has_no_phase_differences():
    still = np.repeat(recipe.grey_frames(networks.SEED)[:1], phase.FRAMES, axis=0)
    for difference in phase.phase_differences(still):
        assert np.abs(difference).max() < 1e-6


def test_a_wrong_number_of_frames_is_refused():
    with pytest.raises(ValueError, match="13, 48, 48"):
        phase.phase_differences(np.zeros((12, 48, 48)))
