"""Action units as OpenFace's live mode gives them: a person's own floor comes off, and what is unknown stays so."""

import numpy as np

from service.adapters.au_calibration import COLUMNS, INTENSITIES, AUCalibration

AU12 = COLUMNS.index("AU12_r")


def test_columns_are_openfaces():
    assert len(INTENSITIES) == 17
    assert len(COLUMNS) == 35
    assert COLUMNS[:2] == ("AU01_r", "AU02_r")
    assert COLUMNS[-3:] == ("AU26_c", "AU28_c", "AU45_c")


def test_the_floor_comes_off_from_the_tenth_frame_on():
    calibration = AUCalibration()
    found = [calibration({"AU12": 0.4})[AU12] for _ in range(14)]
    np.testing.assert_allclose(found[:9], 2.0)
    np.testing.assert_allclose(found[12:], 0.0, atol=8 / 200)  # a bin of the histogram
    np.testing.assert_allclose(found[9], 2 * 2.0 / 3, atol=8 / 200)  # the mean of three frames trails


def test_the_floor_is_the_tenth_percentile_of_what_was_seen():
    rng = np.random.default_rng(0)
    values = rng.uniform(0.2, 0.9, 600)
    calibration = AUCalibration()
    for value in values:
        found = calibration({"AU12": float(value)})[AU12]
    expected = np.clip(5 * values[-3:] - 5 * np.quantile(values, 0.1), 0, 5).mean()
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_occurrence_is_the_majority_of_seven_frames():
    calibration, column = AUCalibration(), COLUMNS.index("AU04_c")
    found = [calibration({"AU04": value})[column] for value in (0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1)]
    shares = [1, 1 / 2, 1 / 3, 2 / 4, 3 / 5, 4 / 6, 4 / 7, 3 / 7, 3 / 7]
    assert found == [float(share >= 0.5) for share in shares]


def test_units_that_the_network_lacks_are_unknown_and_a_gap_is_bridged():
    calibration = AUCalibration()
    known = calibration({"AU12": 0.4})
    assert np.isnan(np.delete(known, [AU12, COLUMNS.index("AU12_c")])).all()
    np.testing.assert_allclose(calibration({})[AU12], 2.0)
    calibration({}), calibration({})
    assert np.isnan(calibration({})[AU12])
