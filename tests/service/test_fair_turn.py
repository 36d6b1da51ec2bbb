"""Turns go round: as many at once as may be, in the order of coming, and an error keeps nobody waiting."""

import threading
import time

import pytest

from service.fair_turn import FairTurn


def test_who_waits_longest_is_next_even_if_the_last_one_wants_more() -> None:
    turn, order = FairTurn(1), list[int]()
    workers: list[threading.Thread] = []
    rounds = 20

    def work(number: int) -> None:
        for _ in range(rounds):
            with turn:
                order.append(number)
                while len(turn._waiting) < 2 and len(order) < 3 * (rounds - 1):  # the others want it again too
                    time.sleep(0.0001)

    with turn:
        for number in range(3):
            workers.append(threading.Thread(target=work, args=(number,)))
            workers[-1].start()
            while len(turn._waiting) < number + 1:
                time.sleep(0.001)
    for worker in workers:
        worker.join(10)
    assert order[: 3 * (rounds - 1)] == [0, 1, 2] * (rounds - 1)
    assert len(order) == 3 * rounds


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_no_more_than_so_many_have_it(at_once: int) -> None:
    turn, counting = FairTurn(at_once), threading.Lock()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with turn:
                with counting:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.001)
                with counting:
                    inside -= 1

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    assert most == at_once


def test_whoever_was_away_is_next_before_those_that_only_begin() -> None:
    turn, order = FairTurn(1), list[str]()
    answered = threading.Event()

    def begun() -> None:
        with turn:
            order.append("begun")
            with turn.away():
                answered.wait(10)
            order.append("finished")

    def begins() -> None:
        with turn:
            order.append("another")

    first, second = threading.Thread(target=begun), threading.Thread(target=begins)
    first.start()
    while order != ["begun"]:
        time.sleep(0.001)
    with turn:  # it is somebody else's meanwhile
        second.start()
        while not turn._waiting:
            time.sleep(0.001)
        answered.set()
        while not turn._back:
            time.sleep(0.001)
    for worker in (first, second):
        worker.join(10)
    assert order == ["begun", "finished", "another"]


def test_an_error_gives_the_turn_back() -> None:
    turn = FairTurn(1)
    with pytest.raises(RuntimeError), turn:
        raise RuntimeError
    with pytest.raises(RuntimeError), turn, turn.away():
        raise RuntimeError
    with turn:
        pass
