"""The number of replicas follows how long requests wait."""

from service.pool.messages import Counts, Load
from service.pool.scaling import DOWN_AFTER, UP_AFTER, Scaling, load_between

CROWDED = Load(replicas=4, wait=0.2)  # for a model with a period of 0.2 s
IDLE = Load(replicas=4, wait=0.001, busy=0.1)


def after(seconds: float, load: Load, running: int = 4, most: int = 8) -> int:
    """Return the number that is wanted after the load has lasted for so many seconds."""
    scaling = Scaling(0.2, 1, most)
    return [scaling.wanted(running, load, t) for t in (0.0, seconds)][-1]


def test_there_are_more_where_requests_wait_for_long_and_never_too_many() -> None:
    assert after(UP_AFTER / 2, CROWDED) == 4
    assert after(UP_AFTER, CROWDED) == 6
    assert after(UP_AFTER, CROWDED, most=5) == 5


def test_there_are_more_where_requests_are_dropped() -> None:
    assert after(UP_AFTER, Load(replicas=4, wait=0.01, late=3.0)) == 6


def test_no_more_are_asked_for_while_some_are_being_started() -> None:
    assert after(UP_AFTER, CROWDED, running=6) == 6


def test_one_goes_after_a_while_without_a_queue_and_never_the_last() -> None:
    assert after(DOWN_AFTER / 2, IDLE) == 4
    assert after(DOWN_AFTER, IDLE) == 3
    assert after(DOWN_AFTER, Load(replicas=1), running=1) == 1


def test_none_goes_where_the_others_could_not_do_its_work() -> None:
    assert after(DOWN_AFTER, Load(replicas=4, wait=0.001, busy=0.7)) == 4


def test_a_short_queue_is_no_reason() -> None:
    scaling = Scaling(0.2, 1, 8)
    assert [scaling.wanted(4, load, t) for t, load in enumerate([CROWDED, IDLE] * 10)] == [4] * 20


def test_the_load_is_what_the_counts_have_grown_by() -> None:
    before = {"a": Counts(calls=10, rows=100, answered=50, waited=1.0, late=1, busy=1.0)}
    now = {
        "a": Counts(waiting=3, calls=14, rows=140, answered=60, waited=2.0, late=5, busy=2.0),
        "b": Counts(waiting=1, calls=9, rows=9),  # a new one, of which nothing is known before
    }
    assert load_between(before, now, 2.0) == Load(replicas=2, waiting=4, wait=0.1, batch=10.0, late=2.0, busy=0.5)
    assert load_between({}, {}, 1.0) == Load()
