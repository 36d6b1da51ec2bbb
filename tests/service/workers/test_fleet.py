"""The service with worker processes: to those outside it is the same, and a worker that breaks takes nothing along."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import psutil
import pytest
from aiortc import RTCSessionDescription
from helpers.serve_process import PATIENCE, Process, process
from helpers.streams import events, first, until
from helpers.webrtc_peer import Beeps, MovingPicture, make_offer
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import ClientConnection, connect

from engines.errors import UserError
from service.settings import load_settings
from service.workers.fleet import Fleet, workers_for
from service.workers.local import LocalLauncher
from service.workers.metrics import merged


def listen(running: Process, query: str = "") -> ClientConnection:
    return connect(f"ws://127.0.0.1:{running.port}/v1/stream{query}", max_size=None)


# Tests with a service of their own come first: the service that the others share reads faces until the last test.


def test_a_worker_that_breaks_takes_nothing_along() -> None:
    options = ["--workers", "2", "--source", "one=demo:", "--source", "two=demo:"]
    with process(*options) as running, running.client() as client:
        running.wait(client)
        with listen(running) as stream:
            first(stream, session="two", state="live")
            rules = client.put("/v1/sessions/two/rules", json={"rules": ["low: valence < -0.5 for 9 s"]}).json()
            victim = max(running.workers(), key=lambda worker: worker.create_time())
            until(lambda: counters(client)["affect_frames_total", "event"] > 0)
            counted = counters(client)
            victim.send_signal(signal.SIGKILL)
            broken = first(stream, state="reconnecting")
            assert (broken["session"], broken["incarnation"]) == ("two", 1)
            assert broken["detail"] == "The worker process that read it ended (signal SIGKILL)"
            assert (broken["faces"], broken["reasons"]) == ([], ["stale"])
            jsonschema.validate(broken, client.get("/v1/schema").json())
            anew = first(stream, session="two", state="live")  # its source was opened once more
            assert anew["incarnation"] == 2
            assert anew["seq"] < broken["seq"]
            until(lambda: client.get("/v1/sessions/two/rules").json() == rules)  # the new worker was given them
            first(stream, session="one", state="live")
            after = counters(client)
            assert [name for name, value in counted.items() if after.get(name, 0.0) < value] == []
        until(lambda: client.get("/readyz").status_code == 200 and len(running.workers()) == 2)
        code, log = running.stop(signal.SIGTERM)
    assert code == 0, log
    assert "Traceback" not in log
    audited = [line.partition("affectstream.audit: ")[2] for line in log.splitlines() if "affectstream.audit" in line]
    entries = [json.loads(line) for line in audited]
    assert [entry["action"] for entry in entries] == ["start", "start", "stop", "stop"]  # each once, from one process
    assert len({entry["session"] for entry in entries}) == 2


def test_another_worker_takes_the_place_of_the_only_one_though_no_session_does() -> None:
    with process("--workers", "2") as running, running.client() as client:
        running.wait(client)
        (only,) = running.workers()
        only.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while only in (now := running.workers()) or not now or client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline, client.get("/readyz").text
            time.sleep(0.1)
        assert len(now) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_service(number: int, tmp_path: Path) -> None:
    with process("--workers", "2", "--source", "one=demo:", "--source", "two=demo:", TMPDIR=str(tmp_path)) as running:
        with running.client() as client:
            running.wait(client)
        with listen(running) as stream:
            first(stream, session="two", state="live")
            left = running.children()
            code, log = running.stop(number)
            if number == signal.SIGTERM:
                states = {event["session"]: event["state"] for event in _until_closed(stream)}
                assert states == {"one": "ended", "two": "ended"}
                assert code == 0, log
                assert "Traceback" not in log
                assert not [*tmp_path.glob("affectstream-*")]
        _, alive = psutil.wait_procs(left, timeout=PATIENCE)
        assert not alive


@pytest.fixture(scope="module")
def running() -> Iterator[Process]:
    options = ("--workers", "2", "--max-sessions", "4", "--session-metrics")
    with process(*options, "--source", "one=demo:", "--source", "two=demo:") as started:
        with started.client() as client:
            started.wait(client)
        yield started


def test_each_session_has_a_process_on_a_core_of_its_own(running: Process) -> None:
    found = running.workers()
    assert len(found) == 2
    if len(os.sched_getaffinity(0)) > 1:
        assert {len(worker.cpu_affinity()) for worker in found} == {1}
        assert found[0].cpu_affinity() != found[1].cpu_affinity()


def dropped(client: httpx.Client) -> float:
    """The events that were not sent to some reader of a stream, because it was slow."""
    samples = [one for family in text_string_to_metric_families(client.get("/metrics").text) for one in family.samples]
    return sum(
        one.value
        for one in samples
        if one.name == "affect_events_dropped_total" and one.labels.get("sink") == "websocket"
    )


def test_one_stream_brings_the_events_of_all_workers(running: Process) -> None:
    seen: dict[str, list[int]] = {"one": [], "two": []}
    taken: list[dict[str, Any]] = []  # checked afterwards: a slow reader misses events
    with running.client() as client:
        valid = jsonschema.Draft202012Validator(client.get("/v1/schema").json())
        lost = dropped(client)  # before there is a reader that may be too slow
        with listen(running) as stream:
            for event in events(stream):
                taken.append(event)
                if event["session"] in seen:
                    seen[event["session"]].append(event["seq"])
                if all(len(numbers) >= 20 for numbers in seen.values()):
                    break
            lost = dropped(client) - lost
    for event in taken:
        valid.validate(event)
    assert all(one < other for numbers in seen.values() for one, other in pairwise(numbers))
    assert sum(numbers[-1] - numbers[0] + 1 - len(numbers) for numbers in seen.values()) <= lost


def test_landmarks_come_to_those_who_ask(running: Process) -> None:
    with listen(running, "?session=one&landmarks=1") as asked, listen(running, "?session=one") as not_asked:
        face = next(event["faces"][0] for event in events(asked) if event["faces"])
        assert len(face["landmarks"]) == 68
        assert all(0 <= x <= 640 and 0 <= y <= 360 for x, y in face["landmarks"])
        assert "landmarks" not in next(event["faces"][0] for event in events(not_asked) if event["faces"])


def test_names_and_limits_hold_over_all_workers(running: Process) -> None:
    with running.client() as client:
        assert client.post("/v1/sessions", json={"source": "demo:", "name": "two"}).status_code == 409
        assert client.post("/v1/sessions", json={"source": "demo:", "name": "no way"}).status_code == 400
        assert client.post("/v1/sessions", json={"source": "file:/etc/passwd"}).status_code == 403
        assert client.post("/v1/sessions", json={"source": "demo:?seconds=-1", "name": "bad"}).status_code == 400
        opened = [client.post("/v1/sessions", json={"source": "demo:", "purpose": "other: a test"}) for _ in range(3)]
        assert [answer.status_code for answer in opened] == [201, 201, 429]
        info = opened[0].json()
        assert (info["id"], info["source"], info["purpose"]) == ("s1", "demo:", "other: a test")
        listed = client.get("/v1/sessions").json()["sessions"]
        assert [one["id"] for one in listed] == ["one", "two", "s1", "s2"]
        with listen(running, "?session=s2") as stream:
            assert client.delete("/v1/sessions/s2").status_code == 204
            assert [event["state"] for event in _until_closed(stream)][-1] == "ended"
        assert client.delete("/v1/sessions/s1").status_code == 204
        assert client.get("/v1/sessions/s1").status_code == 404


def _until_closed(stream: ClientConnection) -> Iterator[dict[str, Any]]:
    for text in stream:
        yield json.loads(text)


def test_a_session_is_asked_through_the_service(running: Process) -> None:
    with running.client() as client:
        until(lambda: client.get("/v1/sessions/two").json()["figures"]["events"] > 0)
        assert client.post("/v1/sessions/two/baseline").status_code == 204
        assert client.post("/v1/sessions/three/baseline").status_code == 404
        assert client.post("/v1/sessions/two/neutral").json()["state"] == "running"
        until(lambda: (client.get("/v1/sessions/two").json()["figures"]["neutral"] or {}).get("t") is not None)
        with client.stream("GET", "/v1/sessions/two/preview", params={"width": 160}) as answer:
            assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
            part = next(answer.iter_bytes())
            assert b"image/jpeg" in part
        assert client.get("/v1/sessions/three/preview").status_code == 404
        assert client.get("/v1/sessions/two/preview", params={"width": 1}).status_code == 422


def test_a_marker_reaches_the_worker_and_comes_back_in_the_stream(running: Process) -> None:
    with running.client() as client, listen(running, "?session=two") as stream:
        next(event for event in events(stream) if event["image_size"])  # before the first picture there is no time
        made = client.post("/v1/sessions/two/markers", json={"label": "stimulus_1"})
        assert made.status_code == 201
        event = next(event for event in events(stream) if "marker" in event)
        assert event["marker"] == made.json()
        assert made.json() in client.get("/v1/sessions/two/history").json()["markers"]
        assert client.post("/v1/sessions/two/markers", json={"label": "x", "t": 1e6}).status_code == 400
        assert client.post("/v1/sessions/three/markers", json={"label": "x"}).status_code == 404


def test_rules_reach_the_worker_and_their_alerts_come_back_in_the_stream(running: Process) -> None:
    with running.client() as client, listen(running, "?session=two") as stream:
        given = client.put("/v1/sessions/two/rules", json={"rules": ["seen: valence > -1 for 0.2 s"]})
        assert given.status_code == 200
        assert client.get("/v1/sessions/two/rules").json() == given.json()
        event = next(event for event in events(stream) if "alert" in event)
        assert (event["alert"]["rule"], event["alert"]["status"]) == ("seen", "raised")
        assert client.put("/v1/sessions/two/rules", json={"rules": ["nonsense"]}).status_code == 400
        assert client.put("/v1/sessions/two/rules", json={"rules": []}).json() == {"rules": []}


def test_what_a_session_asks_for_reaches_the_worker(running: Process) -> None:
    wanted = {"model": "face-mt", "voice": False, "smoothing": "off", "rate": 5.0}
    with running.client() as client:
        opened = client.post("/v1/sessions", json={"source": "demo:", "name": "own", **wanted})
        assert opened.status_code == 201, opened.text
        assert client.get("/v1/sessions/own").json().items() >= opened.json().items() & wanted.items()
        with listen(running, "?session=own") as stream:
            one, other = (next(event for event in events(stream) if event["image_size"]) for _ in range(2))
        assert one["model"]["missing"] == ["sound"]
        assert int(other["t"] * 5 + 0.01) > int(one["t"] * 5 + 0.01)  # one event a tick at most
        refused = client.post("/v1/sessions", json={"source": "demo:", "model": "nope"})
        assert (refused.status_code, refused.json()["code"]) == (422, "not_offered")
        headers = {"content-type": "application/sdp"}
        assert client.post("/whip/x?model=nope", content="v=0", headers=headers).status_code == 422
        assert client.delete("/v1/sessions/own").status_code == 204


def test_metrics_are_those_of_all_processes(running: Process) -> None:
    with running.client() as client:
        figures = [one["figures"] for one in client.get("/v1/sessions").json()["sessions"]]
        text = client.get("/metrics").text
        model = client.get("/v1/models").json()["models"][0]
        assert client.get("/readyz").json() == {"ready": True, "reasons": []}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    names = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples]
    assert len(names) == len(set(names))
    values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert values["affect_sessions",] == 2
    assert values["affect_faces",] == 2
    assert values["affect_workers",] == 2
    assert values["affect_session_faces", "one"] == 1
    assert values["affect_frames_total", "event"] > max(figure["events"] for figure in figures)
    engine = [sample.value for sample in samples if sample.name == "affect_engine_info"]
    assert engine == [1, 1]  # the faces' and the voice's
    assert model["trained"] is True


@pytest.mark.parametrize("prefix", ["/affect", "/v1"])
def test_a_prefix_of_a_proxy_does_not_hide_what_a_worker_has(running: Process, prefix: str) -> None:
    with running.client() as client:
        past = client.get("/v1/sessions/one/history", headers={"x-forwarded-prefix": prefix})
    assert (past.status_code, past.json()["session"]) == (200, "one")


def test_a_peer_is_read_by_a_worker(running: Process) -> None:
    async def call() -> None:
        peer, sdp = await make_offer(MovingPicture(), Beeps())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client:
            headers = {"content-type": "application/sdp"}
            assert (await client.post("/whip/desk", content="nonsense", headers=headers)).status_code in (400, 406)
            assert (await client.get("/v1/sessions/desk")).status_code == 404
            answer = await client.post("/whip/desk?purpose=other:+a+call", content=sdp, headers=headers)
            assert answer.status_code == 201, answer.text
            assert "etag" in answer.headers
            location = answer.headers["location"]
            assert location.startswith("/whip/desk/")
            await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
            with listen(running, "?session=desk") as stream:
                live = await asyncio.to_thread(first, stream, state="live")
                assert (live["session"], live["purpose"]) == ("desk", "other")
            info = (await client.get("/v1/sessions/desk")).json()
            assert (info["source"], info["purpose"]) == ("whip:", "other: a call")
            assert (await client.options("/whip/desk")).status_code == 204
            assert (await client.patch(f"{location}x", content="", headers=headers)).status_code in (404, 415)
            for nonsense in ("%01", "%FF%FE", "%00", "a%2Fb"):
                assert (await client.delete(f"/whip/desk/{nonsense}")).status_code == 404
            bytes_beyond_ascii = {b"content-type": b"application/trickle-ice-sdpfrag", b"if-match": b'"\xff\xfe"'}
            end = b"a=end-of-candidates"
            assert (await client.patch(location, content=end, headers=bytes_beyond_ascii)).status_code == 412
            assert (await client.delete(location)).status_code == 200
            assert (await client.get("/v1/sessions/desk")).status_code == 404
            assert (await client.delete(location)).status_code == 404
        await peer.close()

    asyncio.run(call())


def test_what_a_worker_keeps_is_erased(running: Process) -> None:
    with running.client() as client:
        times = [row[0] for row in until_some(lambda: client.get("/v1/sessions/one/history").json()["rows"])]
        erased = client.delete("/v1/sessions/one/data")
        assert erased.status_code == 200
        assert erased.json()["erased"]["history"] >= len(times)
        anew = until_some(lambda: client.get("/v1/sessions/one/history").json()["rows"])
        assert min(row[0] for row in anew) > max(times)
        assert client.delete("/v1/sessions/nobody/data").status_code == 404


def until_some(ask: Callable[[], list[Any]]) -> list[Any]:
    """What `ask` returns, once it is not empty."""
    found: list[list[Any]] = []
    until(lambda: bool(found.append(ask()) or found[-1]))
    return found[-1]


def counters(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """The service's counters by name and labels' values."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families if family.type == "counter" for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples if "_created" not in sample.name}


def test_a_worker_that_cannot_start_gets_its_own_sentence() -> None:
    with closing(Fleet(LocalLauncher(load_settings(model="tsav", workers=2), 2))) as fleet:
        fleet.start()
        with pytest.raises(UserError, match="weights import tsav"):
            fleet.wait_for()


def test_workers_are_for_small_models_on_a_cpu() -> None:
    assert workers_for(load_settings()) == min(len(os.sched_getaffinity(0)), 16)
    assert workers_for(load_settings(max_sessions=1)) == 1
    assert workers_for(load_settings(model="tsav")) == 1
    assert workers_for(load_settings(engine="tensorrt:fp16")) == 1
    assert workers_for(load_settings(model="tsav", workers=3)) == 3


def test_counts_and_times_add_up_but_facts_do_not() -> None:
    texts = [
        'affect_frames_total{stage="a"} 2\naffect_engine_info{model="m"} 1\n',
        'affect_frames_total{stage="a"} 3\naffect_frames_total{stage="b"} 1\naffect_engine_info{model="m"} 1\n',
    ]
    head = "# TYPE affect_frames_total counter\n# TYPE affect_engine_info gauge\n"
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in merged(text_string_to_metric_families(head + text) for text in texts)
        for sample in metric.samples
    }
    assert found == {
        ("affect_frames_total", "a"): 5, ("affect_frames_total", "b"): 1, ("affect_engine_info", "m"): 1,
    }  # fmt: skip
