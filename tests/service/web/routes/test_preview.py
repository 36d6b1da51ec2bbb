"""Previews: newest frame only, made only while someone watches, beside the loop."""

from collections.abc import Iterator

import cv2
import httpx
import numpy as np
import pytest
from helpers.live_server import LiveServer, serving
from helpers.multipart import Parts
from prometheus_client import REGISTRY


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with serving(max_subscribers=2) as running:
        yield running


def watchers() -> float:
    return REGISTRY.get_sample_value("affect_subscribers", {"sink": "preview"}) or 0.0


def test_parts_are_jpegs_of_the_newest_frame_with_their_time(server: LiveServer) -> None:
    desk = server.open()
    desk.show(t=1.5)
    with server.client() as http, http.stream("GET", "/v1/sessions/desk/preview?fps=30&t=123") as response:
        parts = Parts(response)
        headers, jpeg = parts.next()
        assert (headers["Content-Type"], headers["X-Timestamp"]) == ("image/jpeg", "1.500000")
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (48, 64, 3)
        assert image[20, 20, 2] > 200  # red, in OpenCV's order
        assert image[20, 20, 0] < 60
        # In the loop, where the preview cannot come in between.
        server.live.hub._loop.call_soon_threadsafe(lambda: [desk.show(t) for t in (2.0, 3.0)])
        assert parts.next()[0]["X-Timestamp"] == "3.000000"


def test_large_pictures_are_made_smaller(server: LiveServer) -> None:
    desk = server.open()
    desk.show(0.0, width=1280, height=720)
    with server.client() as http, http.stream("GET", "/v1/sessions/desk/preview?width=320") as response:
        jpeg = Parts(response).next()[1]
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (180, 320, 3)


def test_nothing_is_encoded_unless_someone_watches(server: LiveServer) -> None:
    desk = server.open()
    desk.show(0.0)
    with server.client() as http:
        http.get("/healthz")
        assert desk.asked == 0
        with http.stream("GET", "/v1/sessions/desk/preview?fps=30") as response:
            parts = Parts(response)
            parts.next()
            assert watchers() == 1
        while watchers():
            http.get("/healthz")
        asked = desk.asked
        http.get("/healthz")
        assert desk.asked == asked


def test_it_ends_with_the_session(server: LiveServer) -> None:
    desk = server.open()
    desk.show(0.0)
    with server.client() as http, http.stream("GET", "/v1/sessions/desk/preview?fps=30") as response:
        parts = Parts(response)
        parts.next()
        assert httpx.delete(f"{server.url}/v1/sessions/desk", timeout=60).status_code == 204
        assert parts.rest().endswith(b"--\r\n")


@pytest.mark.parametrize("query", ["fps=0", "fps=31", "fps=-1", "fps=nan", "fps=inf", "width=1", "width=9999"])
def test_bounds_of_the_query_are_kept(server: LiveServer, query: str) -> None:
    server.open().show(0.0)
    with server.client() as http:
        answer = http.get(f"/v1/sessions/desk/preview?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["detail"]


def test_watchers_are_limited(server: LiveServer) -> None:
    server.open().show(0.0)
    path = "/v1/sessions/desk/preview"
    with (
        server.client() as http,
        http.stream("GET", path) as first,
        http.stream("GET", path) as second,
    ):
        watching = Parts(first), Parts(second)
        for parts in watching:
            parts.next()
        assert http.get(path).status_code == 429


def test_a_stopping_server_does_not_wait_for_watchers() -> None:
    with serving() as server:
        server.open().show(0.0)
        client = server.client()
        response = client.send(client.build_request("GET", "/v1/sessions/desk/preview"), stream=True)
        parts = Parts(response)
        parts.next()
    rest = parts.rest()
    response.close()
    client.close()
    assert rest.endswith(b"--\r\n")
