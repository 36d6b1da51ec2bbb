"""The application with its real sessions and the default model: what the routes say of one session agrees."""

import json
from typing import Any

import httpx
from helpers.live_server import serving
from helpers.multipart import Parts
from websockets.sync.client import connect

from service.settings import Settings
from service.web.app import create_app


def test_a_demo_is_opened_streamed_watched_and_closed() -> None:
    with serving(create_app(Settings())) as server, server.client() as http:
        opened = http.post("/v1/sessions", json={"source": "demo:", "name": "desk"})
        assert opened.status_code == 201, opened.text
        events: list[dict[str, Any]] = []
        with connect(f"{server.ws}/v1/stream?session=desk&landmarks=1") as client:
            while len(events) < 30 or not events[-1]["faces"]:
                events.append(json.loads(client.recv(timeout=60)))
            with http.stream("GET", "/v1/sessions/desk/preview?fps=30") as response:
                parts = Parts(response)
                shown = [float(parts.next()[0]["X-Timestamp"]) for _ in range(3)]
            assert httpx.post(f"{server.url}/v1/sessions/desk/baseline", timeout=60).status_code == 204
            info = httpx.get(f"{server.url}/v1/sessions/desk", timeout=60).json()
            assert httpx.delete(f"{server.url}/v1/sessions/desk", timeout=60).status_code == 204
            events += [json.loads(text) for text in client]  # until the server closes
            assert client.close_code == 1000
        assert httpx.get(f"{server.url}/v1/sessions", timeout=60).json() == {"sessions": []}
    assert (info["id"], info["state"], info["figures"]["faces"]) == ("desk", "live", 1)
    assert [event["seq"] for event in events] == list(range(events[0]["seq"], events[0]["seq"] + len(events)))
    assert events[-1]["state"] == "ended"
    times = [event["t"] for event in events]
    assert all(min(abs(t - seen) for seen in times) < 0.002 for t in shown)
    assert all(len(face["landmarks"]) == 68 for event in events for face in event["faces"])
