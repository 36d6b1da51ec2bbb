"""Turns go round: as many at once as may be, in the order of coming, and an error keeps nobody waiting."""

import threading
import time

import pytest

from service.fair_semaphore import FairSemaphore


def test_who_waits_longest_is_next_even_if_the_last_one_wants_more() -> None:
    semaphore, order = FairSemaphore(1), list[int]()
    workers: list[threading.Thread] = []
    rounds = 20

    def work(number: int) -> None:
        for _ in range(rounds):
            with semaphore:
                order.append(number)
                while len(semaphore._waiting) < 2 and len(order) < 3 * (rounds - 1):  # the others want it again too
                    time.sleep(0.0001)

    with semaphore:
        for number in range(3):
            workers.append(threading.Thread(target=work, args=(number,)))
            workers[-1].start()
            while len(semaphore._waiting) < number + 1:
                time.sleep(0.001)
    for worker in workers:
        worker.join(60)
    assert order[: 3 * (rounds - 1)] == [0, 1, 2] * (rounds - 1)
    assert len(order) == 3 * rounds


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_no_more_than_so_many_have_it(at_once: int) -> None:
    semaphore, counting = FairSemaphore(at_once), threading.Lock()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with semaphore:
                with counting:
                    inside += 1
                    most = max(most, inside)
                while most < at_once:  # the first ones wait for each other
                    time.sleep(0.001)
                time.sleep(0.001)
                with counting:
                    inside -= 1

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert most == at_once


def test_whoever_was_away_is_next_before_those_that_only_begin() -> None:
    semaphore, order = FairSemaphore(1), list[str]()
    answered = threading.Event()

    def begun() -> None:
        with semaphore:
            order.append("begun")
            with semaphore.released():
                answered.wait(60)
            order.append("finished")

    def begins() -> None:
        with semaphore:
            order.append("another")

    first, second = threading.Thread(target=begun), threading.Thread(target=begins)
    first.start()
    while order != ["begun"]:
        time.sleep(0.001)
    with semaphore:  # it is somebody else's meanwhile
        second.start()
        while not semaphore._waiting:
            time.sleep(0.001)
        answered.set()
        while not semaphore._back:
            time.sleep(0.001)
    for worker in (first, second):
        worker.join(60)
    assert order == ["begun", "finished", "another"]


def test_an_error_gives_the_semaphore_back() -> None:
    semaphore = FairSemaphore(1)
    with pytest.raises(RuntimeError), semaphore:
        raise RuntimeError
    with pytest.raises(RuntimeError), semaphore, semaphore.released():
        raise RuntimeError
    with semaphore:
        pass
