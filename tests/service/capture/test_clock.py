"""The session clock: whatever the stamps of a stream do, its time goes forward."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import metrics
from service.capture.clock import SessionClock

SECONDS = st.one_of(st.none(), st.floats(-1e6, 1e6))


@given(st.lists(SECONDS, min_size=1, max_size=50), st.booleans())
def test_pictures_always_rise(stamps: list[float | None], live: bool) -> None:
    clock = SessionClock()
    clock.begin(0.0)
    times = [clock.picture(stamp, 0.04, n * 0.04 if live else None) for n, stamp in enumerate(stamps)]
    assert all(one < other for one, other in pairwise(times))
    assert times[0] >= 0


@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=50), st.floats(-1e4, 1e4))
def test_distances_between_pictures_are_kept(steps: list[float], start: float) -> None:
    clock = SessionClock()
    clock.begin(0.0)
    stamps = [start + sum(steps[:n]) for n in range(len(steps) + 1)]
    times = [clock.picture(stamp, 0.04) for stamp in stamps]
    assert times == pytest.approx([stamp - start for stamp in stamps], abs=1e-6)


def test_picture_and_sound_share_one_offset() -> None:
    clock = SessionClock()
    clock.begin(0.0, media_start=100.0)
    assert clock.sound(100.02, 0.02) == pytest.approx(0.02)
    assert clock.picture(100.0, 0.04) == pytest.approx(0.0)


def test_a_new_run_begins_after_the_last_one() -> None:
    clock = SessionClock()
    clock.begin(0.0, media_start=0.0)
    clock.picture(2.0, 0.04)
    clock.begin(1.0)
    assert clock.picture(77.0, 0.04) == pytest.approx(2.04)
    clock.begin(10.0)
    assert clock.picture(3.0, 0.04) == pytest.approx(10.0)
    assert clock.run == pytest.approx(0.04)


def test_a_live_stream_whose_stamps_jump_back_is_placed_at_the_wall_clock() -> None:
    clock = SessionClock()
    clock.begin(0.0)
    assert clock.picture(1000.0, 0.04, elapsed=0.0) == 0.0
    assert clock.picture(1000.04, 0.04, elapsed=0.04) == pytest.approx(0.04)
    assert clock.picture(5.0, 0.04, elapsed=3.0) == pytest.approx(3.0)
    assert clock.picture(5.04, 0.04, elapsed=3.04) == pytest.approx(3.04)


def test_a_live_stream_whose_stamps_leap_ahead_is_placed_at_the_wall_clock() -> None:
    clock = SessionClock()
    clock.begin(0.0)
    clock.picture(0.0, 0.04, elapsed=0.0)
    assert clock.picture(86_400.0, 0.04, elapsed=0.1) == pytest.approx(0.1)


def live(clock: SessionClock, stamps: list[float], arrivals: list[float]) -> list[float]:
    return [clock.picture(stamp, 0.04, at) for stamp, at in zip(stamps, arrivals, strict=True)]


@pytest.mark.parametrize("wrong", [3.0, -3.0, 0.9, -0.7, 1e6, -1e6])
@pytest.mark.parametrize("at", [1, 20, 48])
def test_one_stamp_out_of_line_moves_nothing_for_good(wrong: float, at: int) -> None:
    arrivals = [n * 0.04 for n in range(50)]
    stamps = [100 + t for t in arrivals]
    stamps[at] += wrong
    clock = SessionClock()
    clock.begin(0.0)
    times = live(clock, stamps, arrivals)
    off = [abs(t - wanted) for t, wanted in zip(times, arrivals, strict=True)]
    assert max(off[:at] + off[at + 1 :]) < 1e-6
    assert all(one < other for one, other in pairwise(times))


def test_a_small_leap_that_was_believed_can_fall_back() -> None:
    arrivals = [n * 0.04 for n in range(50)]
    stamps = [t + (0.4 if n == 20 else 0.0) for n, t in enumerate(arrivals)]
    clock = SessionClock()
    clock.begin(0.0)
    assert live(clock, stamps, arrivals)[-1] == pytest.approx(arrivals[-1])


def test_few_pictures_a_second_that_arrive_unevenly_keep_their_times() -> None:
    clock = SessionClock()
    clock.begin(0.0)
    stamps = [float(n) for n in range(40)]
    assert live(clock, stamps, [t + 0.7 * (n % 2) for n, t in enumerate(stamps)]) == pytest.approx(stamps)


def test_many_stamps_out_of_line_do_not_add_up() -> None:
    arrivals = [n * 0.04 for n in range(500)]
    stamps = [t + (3.0 if n % 50 == 25 else 0.0) for n, t in enumerate(arrivals)]
    clock = SessionClock()
    clock.begin(0.0)
    before = metrics.CLOCK_CORRECTIONS.labels("outlier")._value.get()
    assert live(clock, stamps, arrivals)[-1] == pytest.approx(arrivals[-1])
    assert metrics.CLOCK_CORRECTIONS.labels("outlier")._value.get() == before + 10


@pytest.mark.parametrize("jump", [-500.0, 500.0])
def test_a_new_timeline_is_believed_once_several_stamps_agree(jump: float) -> None:
    arrivals = [n * 0.04 for n in range(100)]
    stamps = [t + (jump if n >= 50 else 0.0) for n, t in enumerate(arrivals)]
    clock = SessionClock()
    clock.begin(0.0)
    before = metrics.CLOCK_CORRECTIONS.labels("timeline")._value.get()
    assert live(clock, stamps, arrivals) == pytest.approx(arrivals)
    assert metrics.CLOCK_CORRECTIONS.labels("timeline")._value.get() == before + 1


@pytest.mark.parametrize("rate", [0.998, 1.002, 0.995, 1.005])
@given(delays=st.lists(st.floats(0, 0.3), min_size=25, max_size=25))
def test_a_sender_whose_clock_is_off_does_not_drift_away(rate: float, delays: list[float]) -> None:
    senders = [n * 0.2 for n in range(3000)]  # ten minutes at five pictures a second
    arrivals = [*accumulate((t + delays[n % len(delays)] for n, t in enumerate(senders)), max)]
    clock = SessionClock()
    clock.begin(arrivals[0])
    times = [clock.picture(t * rate, 0.2, at) for t, at in zip(senders, arrivals, strict=True)]
    lag = [at - t for t, at in zip(times, senders, strict=True)]
    assert max(lag) - min(lag) < 0.6
    assert all(one < other for one, other in pairwise(times))


def test_jitter_alone_moves_the_clock_by_nothing() -> None:
    clock = SessionClock()
    clock.begin(0.0)
    before = metrics.CLOCK_SLEWED._value.get()
    senders = [n * 0.04 for n in range(2000)]
    times = [clock.picture(t, 0.04, t + (n * 7 % 13) / 50) for n, t in enumerate(senders)]
    assert times == pytest.approx([t + times[0] for t in senders])
    assert metrics.CLOCK_SLEWED._value.get() == before


@pytest.mark.parametrize("ahead", [0.2, 0.45, 0.9, 3.0, 60.0])
def test_pictures_that_begin_behind_the_sound_of_a_live_stream_go_on_at_once(ahead: float) -> None:
    clock = SessionClock()
    clock.begin(0.0)
    heard = [clock.sound(100 + ahead + n * 0.04, 0.04, n * 0.04) for n in range(10)]
    seen = []
    for n in range(10, 100):
        heard.append(clock.sound(100 + ahead + n * 0.04, 0.04, n * 0.04))
        seen.append(clock.picture(100 + n * 0.04, 0.04, n * 0.04))
    assert [other - one for one, other in pairwise(seen)] == pytest.approx([0.04] * 89, abs=0.01)
    assert 0 <= seen[0] <= 0.4
    assert all(one < other for one, other in pairwise(heard))
    assert heard[-1] == pytest.approx(99 * 0.04, abs=0.5)
