"""When a model is run, and how long a track's recurrent state is kept."""

import numpy as np
from helpers.estimates import face

from service.adapters.pacing import FORGET, Carried, Pacer


def test_one_request_a_period_and_none_while_an_answer_is_awaited() -> None:
    pacer = Pacer(10.0)
    assert pacer.due(0.0)
    assert not pacer.due(0.15)  # no answer yet
    pacer.answered()
    assert pacer.due(0.15)
    pacer.answered()
    assert not pacer.due(0.17)


def test_the_state_of_a_departed_track_is_dropped_also_when_its_last_answer_comes_late() -> None:
    carried = Carried((2,))
    for track in range(100):
        t = 2.0 * FORGET * track
        gone = face(t, track)
        carried.see(t, [gone])
        carried.see(t + 1.5 * FORGET, [])
        carried.keep(t, [gone], np.ones((1, 2)))
    assert (len(carried._states), len(carried._steps), len(carried._read)) == (0, 0, 0)


def test_a_track_that_is_there_keeps_its_state() -> None:
    carried = Carried((2,), horizon=2)
    here = face(0.0)
    carried.see(0.0, [here])
    for step, expected in enumerate((0.0, 1.0, 0.0)):  # it begins anew after two requests
        assert (carried.stack([here]) == expected).all()
        carried.keep(0.1 * step, [here], np.ones((1, 2)))
