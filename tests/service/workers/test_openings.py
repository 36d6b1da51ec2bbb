"""Openings in a worker that the service in front has given up: they are undone, whichever request comes first."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from service.loaded_model import LoadedModel
from service.register import Unavailable, UnknownSession
from service.session_figures import Latency, SessionFigures
from service.settings import load_settings
from service.workers.fleet import Fleet, pause_after
from service.workers.handle import Worker
from service.workers.heartbeat import Beat, is_beat, pack_beat, unpack_beat
from service.workers.local import LocalLauncher


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with closing(Fleet(LocalLauncher(load_settings(workers=1), 1))) as fleet:
        fleet.start()
        fleet.wait_for()
        yield fleet.workers[0]


def opening(name: str, incarnation: int) -> dict[str, object]:
    return {"source": "demo:", "name": name, "purpose": None, "incarnation": incarnation}


def names(worker: Worker) -> list[str]:
    return [one["id"] for one in worker.request("GET", "/v1/sessions")["sessions"]]


def test_an_opening_that_was_ended_before_it_began_opens_nothing(worker: Worker) -> None:
    worker.request("DELETE", "/worker/sessions/early/1")
    with pytest.raises(UnknownSession, match="closed while it was being opened"):
        worker.request("POST", "/worker/sessions", json=opening("early", 1))
    assert names(worker) == []
    worker.request("POST", "/worker/sessions", json=opening("early", 2))  # the next one of that name
    assert names(worker) == ["early"]
    worker.request("DELETE", "/worker/sessions/early/2")
    assert names(worker) == []


def test_the_end_of_an_older_incarnation_leaves_the_newer_one_alone(worker: Worker) -> None:
    worker.request("POST", "/worker/sessions", json=opening("two", 7))
    worker.request("DELETE", "/worker/sessions/two/6")
    assert names(worker) == ["two"]
    worker.request("DELETE", "/worker/sessions/two/7")
    assert names(worker) == []


def test_a_worker_that_was_ended_answers_with_a_sentence() -> None:
    with closing(Fleet(LocalLauncher(load_settings(workers=1), 1))) as fleet:
        fleet.start()
        fleet.wait_for()
        ended = fleet.workers[0]
    with pytest.raises(Unavailable, match="has ended"):
        ended.request("GET", "/v1/sessions")
    assert not ended.alive


def test_a_beat_comes_out_as_it_went_in() -> None:
    beat = Beat(
        {"desk": SessionFigures(fps=29.9, latency_ms=Latency(9.0, 14.0), events=7)},
        ["No."],
        {"name": "face-mt"},
        ["face-mt-1: Apache-2.0"],
        [LoadedModel({"name": "tsav"}, ["tsav-1: MIT"], ["it failed"])],
    )
    body = pack_beat(beat)
    assert is_beat(body)
    assert unpack_beat(body) == beat


def test_new_starts_come_at_once_and_then_ever_later() -> None:
    assert [pause_after(breaks) for breaks in (1, 2, 3, 4, 5, 99)] == [0.0, 0.0, 1.0, 2.0, 4.0, 30.0]
