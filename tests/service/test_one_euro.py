"""The One-Euro filter: constant in, constant out; no look into the future; a gap starts it anew."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.one_euro import OneEuro

finite = st.floats(-1e3, 1e3)
signals = st.lists(st.tuples(finite, st.floats(0.001, 0.4)), min_size=2, max_size=40)


def run(values: list[float], steps: list[float], **settings: float) -> list[float]:
    smooth = OneEuro(**settings)
    times = np.cumsum(steps)
    return [float(smooth(value, float(t))) for value, t in zip(values, times, strict=True)]


@given(finite, st.lists(st.floats(0.001, 0.4), min_size=1, max_size=40))
def test_a_constant_comes_out_as_it_went_in(value: float, steps: list[float]) -> None:
    assert np.allclose(run([value] * len(steps), steps, beta=1.0), value)


@given(signals, st.integers(1, 39), finite)
def test_the_future_changes_nothing(signal: list[tuple[float, float]], cut: int, other: float) -> None:
    values, steps = [list(column) for column in zip(*signal, strict=True)]
    cut = min(cut, len(values) - 1)
    changed = values[:cut] + [other] * (len(values) - cut)
    assert run(values, steps, beta=0.5)[:cut] == run(changed, steps, beta=0.5)[:cut]


@given(signals)
def test_it_stays_within_the_values_seen(signal: list[tuple[float, float]]) -> None:
    values, steps = [list(column) for column in zip(*signal, strict=True)]
    for index, out in enumerate(run(values, steps, beta=0.5)):
        assert min(values[: index + 1]) - 1e-6 <= out <= max(values[: index + 1]) + 1e-6


def test_it_halves_trembling_and_follows_a_step() -> None:
    noise = np.random.default_rng(1).normal(0, 1, 300)
    out = run(list(noise), [1 / 30] * 300, min_cutoff=1.0)
    assert np.std(out[30:]) < 0.5 * np.std(noise[30:])
    step = run([0.0] * 30 + [1.0] * 60, [1 / 30] * 90, min_cutoff=1.0, beta=5.0)
    assert step[-1] > 0.99


def test_each_element_is_filtered_by_itself() -> None:
    both = OneEuro(beta=0.3)
    alone = OneEuro(beta=0.3)
    rng = np.random.default_rng(2)
    for index in range(20):
        x = rng.normal(size=(3, 2))
        assert both(x, index / 30)[1, 1] == alone(float(x[1, 1]), index / 30)


def test_scale_of_the_signal_and_unit_of_speed_cancel() -> None:
    small, large = OneEuro(beta=2.0), OneEuro(beta=2.0)
    rng = np.random.default_rng(3)
    for index in range(20):
        x = rng.normal(size=4)
        assert np.allclose(small(x, index / 30) * 50, large(x * 50, index / 30, unit=50.0))


def test_a_gap_a_step_back_in_time_or_another_shape_starts_anew() -> None:
    for t, x in ((5.0, np.ones(2)), (-1.0, np.ones(2)), (0.03, np.ones(3))):
        smooth = OneEuro(max_gap=0.5)
        smooth(np.zeros(2), 0.0)
        assert (smooth(x, t) == 1).all()


def test_the_same_time_twice_gives_the_same_value() -> None:
    smooth = OneEuro()
    smooth(0.0, 0.0)
    first = smooth(1.0, 0.1)
    assert smooth(7.0, 0.1) == first


def test_reset_forgets() -> None:
    smooth = OneEuro()
    smooth(0.0, 0.0)
    smooth.reset()
    assert smooth(3.0, 0.01) == 3.0
