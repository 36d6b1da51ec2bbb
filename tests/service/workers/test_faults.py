"""Workers that die or hang: everything is answered meanwhile, every session comes back, no count goes back."""

import asyncio
import signal
import threading
from typing import Any

import httpx
import psutil
import pytest
from aiortc import RTCSessionDescription
from helpers.serve_process import PATIENCE, Process, process
from helpers.streams import events, first, until
from helpers.webrtc_peer import MovingPicture, make_offer
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

LOG_LINES = 10  # a fault


def counts(client: httpx.Client) -> dict[tuple[Any, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


class Asker(threading.Thread):
    """Asks for what must always be answered, again and again; collects the statuses."""

    def __init__(self, running: Process) -> None:
        super().__init__(daemon=True)
        self.statuses: dict[str, set[int]] = {"/v1/sessions": set(), "/readyz": set(), "/healthz": set()}
        self._client = running.client()
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.05):
            for path, statuses in self.statuses.items():
                statuses.add(self._client.get(path, timeout=PATIENCE).status_code)

    def end(self) -> None:
        self._ended.set()
        self.join()
        self._client.close()


def opened(running: Process, *names: str) -> None:
    """Waits until these sessions are live."""
    with connect(f"ws://127.0.0.1:{running.port}/v1/stream", max_size=None) as stream:
        for name in names:
            first(stream, session=name, state="live")


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_session_of_a_broken_worker_goes_on_for_its_own_subscriber(fault: int) -> None:
    with (
        process("--workers", "2", "--source", "one=demo:", "--source", "two=demo:") as running,
        running.client() as client,
    ):
        running.wait(client)
        opened(running, "one", "two")
        before = counts(client)
        asker = Asker(running)
        with connect(f"ws://127.0.0.1:{running.port}/v1/stream?session=two", max_size=None) as stream:
            assert first(stream, state="live")["incarnation"] == 1
            running.workers()[-1].send_signal(fault)
            states = []
            for event in events(stream):  # of the same subscription
                states.append((event["incarnation"], event["state"]))
                if states[-1] == (2, "live"):
                    break
        assert (1, "reconnecting") in states
        until(lambda: client.get("/readyz").status_code == 200 and len(running.workers()) == 2)
        asker.end()
        after = counts(client)
        assert {name: value for name, value in before.items() if after.get(name, -1) < value} == {}
        assert asker.statuses["/v1/sessions"] == {200}
        assert asker.statuses["/healthz"] == {200}  # the other worker reads faces all the time
        info = client.get("/v1/sessions/two").json()
        assert (info["state"], info["incarnation"]) == ("live", 2)
        code, log = running.stop(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in log
    assert len([line for line in log.splitlines() if " INFO " not in line]) <= LOG_LINES


def test_without_a_worker_the_service_says_so_and_recovers() -> None:
    with process("--workers", "2", "--source", "one=demo:") as running, running.client() as client:
        running.wait(client)
        opened(running, "one")
        asker = Asker(running)
        (only,) = running.workers()
        only.send_signal(signal.SIGSTOP)
        until(lambda: client.get("/healthz").status_code == 503)
        assert client.get("/healthz").json()["reasons"]
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/models").json()["models"][0]["name"] == "face-mt"
        until(
            lambda: (
                client.get("/v1/sessions/one").json()["state"] == "live" and client.get("/healthz").status_code == 200
            )
        )
        asker.end()
        assert asker.statuses["/v1/sessions"] == {200}
        assert not only.is_running() or only.status() == psutil.STATUS_ZOMBIE
        assert client.get("/v1/sessions/one").json()["incarnation"] == 2


def test_a_peer_of_a_killed_worker_fails_and_its_name_can_be_used_again() -> None:
    async def call(running: Process) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=PATIENCE) as client:
            headers = {"content-type": "application/sdp"}

            async def publish() -> tuple[Any, httpx.Response]:
                peer, sdp = await make_offer(MovingPicture())
                answer = await client.post("/whip/desk", content=sdp, headers=headers)
                assert answer.status_code == 201, answer.text
                await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
                return peer, answer

            peer, answer = await publish()
            with connect(f"ws://127.0.0.1:{running.port}/v1/stream?session=desk", max_size=None) as stream:
                await asyncio.to_thread(first, stream, state="live")
                running.workers()[-1].send_signal(signal.SIGKILL)
                failed = await asyncio.to_thread(first, stream, state="failed")
                assert failed["detail"] == "The worker process that read it ended (signal SIGKILL)"
                listed = await client.get("/v1/sessions")
                assert listed.status_code == 200
                assert [one["state"] for one in listed.json()["sessions"]] == ["failed"]
                assert (await client.get("/v1/sessions/desk")).status_code == 200
                assert (await client.post("/v1/sessions/desk/baseline")).status_code == 503
                assert (await client.get("/v1/sessions/desk/preview")).status_code == 503
                assert (await client.delete(answer.headers["location"])).status_code == 404
                await peer.close()
                peer, _ = await publish()
                again = await asyncio.to_thread(first, stream, state="live")  # of the same subscription
                assert again["incarnation"] == 2
            assert (await client.delete("/v1/sessions/desk")).status_code == 204
            await peer.close()

    with process("--workers", "2") as running, running.client() as client:
        running.wait(client)
        asyncio.run(call(running))
        code, log = running.stop(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in log


def test_a_session_that_is_closed_while_its_worker_is_replaced_does_not_come_back() -> None:
    with process("--workers", "2", "--source", "one=demo:") as running, running.client() as client:
        running.wait(client)
        opened(running, "one")
        running.workers()[0].send_signal(signal.SIGKILL)
        until(lambda: client.get("/v1/sessions/one").json()["state"] == "reconnecting")
        assert client.delete("/v1/sessions/one").status_code == 204
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/v1/sessions").json() == {"sessions": []}
        assert client.post("/v1/sessions", json={"source": "demo:", "name": "one"}).status_code == 201
        opened(running, "one")
        families = text_string_to_metric_families(client.get("/metrics").text)
        assert [family.samples[0].value for family in families if family.name == "affect_sessions"] == [1]


def test_a_session_that_is_closed_while_it_opens_is_not_opened() -> None:
    with process("--workers", "2", patient=True) as running, running.client() as client:
        running.wait(client)
        (worker,) = running.workers()
        answers: list[int] = []

        def ask(method: str, path: str, **more: Any) -> threading.Thread:
            def run() -> None:
                with running.client() as own:
                    answers.append(own.request(method, path, **more).status_code)

            asking = threading.Thread(target=run)
            asking.start()
            return asking

        worker.send_signal(signal.SIGSTOP)  # it opens slowly
        opening = ask("POST", "/v1/sessions", json={"source": "demo:", "name": "one"})
        until(lambda: client.get("/v1/sessions").json()["sessions"])
        closing = ask("DELETE", "/v1/sessions/one")
        until(lambda: not client.get("/v1/sessions").json()["sessions"])
        worker.send_signal(signal.SIGCONT)
        opening.join(PATIENCE)
        closing.join(PATIENCE)
        assert sorted(answers) == [204, 404]
        assert client.post("/v1/sessions", json={"source": "demo:", "name": "one"}).status_code == 201
        opened(running, "one")
        families = text_string_to_metric_families(client.get("/metrics").text)
        assert [family.samples[0].value for family in families if family.name == "affect_sessions"] == [1]
