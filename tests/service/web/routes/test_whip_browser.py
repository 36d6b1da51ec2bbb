"""The whole way as users go it: a browser's camera, WHIP, the models, and events back in the browser."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.browser import chromium, write_camera, write_microphone
from helpers.live_server import LiveServer, serving
from numpy.typing import NDArray

from service.settings import Settings
from service.web.app import create_app

# What a page does: allow the camera, send it by WHIP, read the feed until `count` events have a face.
SEND_AND_READ = """async ([session, count]) => {
  const media = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 360}, audio: true});
  const peer = new RTCPeerConnection();
  for (const track of media.getTracks()) peer.addTransceiver(track, {direction: 'sendonly', streams: [media]});
  const found = [];
  peer.onicecandidate = ({candidate}) => found.push(candidate?.candidate ?
    `a=${candidate.candidate}` : 'a=end-of-candidates');
  await peer.setLocalDescription();
  const answer = await fetch(`/whip/${session}?purpose=research`, {
    method: 'POST', headers: {'content-type': 'application/sdp'}, body: peer.localDescription.sdp});
  if (answer.status !== 201) throw new Error(await answer.text());
  const location = answer.headers.get('location');
  while (!found.includes('a=end-of-candidates')) await new Promise(next => setTimeout(next, 20));
  const ufrag = peer.localDescription.sdp.match(/a=ice-ufrag:.*/)[0];
  const late = await fetch(location, {
    method: 'PATCH', body: [ufrag, 'm=video 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0', ...found, ''].join('\\r\\n'),
    headers: {'content-type': 'application/trickle-ice-sdpfrag', 'if-match': answer.headers.get('etag')}});
  await peer.setRemoteDescription({type: 'answer', sdp: await answer.text()});
  const socket = new WebSocket(`ws://${window.location.host}/v1/stream?session=${session}`);
  const events = [];
  await new Promise((resolve, reject) => {
    socket.onerror = reject;
    socket.onmessage = ({data}) => {
      events.push(JSON.parse(data));
      if (events.filter(event => event.faces.length).length >= count) resolve();
    };
  });
  window.leave = () => fetch(location, {method: 'DELETE'}).then(left => left.status);
  return {events, late: late.status};
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving(create_app(Settings())) as server:
        yield server


@pytest.fixture(scope="module")
def page(server: LiveServer, portrait: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("devices")
    camera = write_camera(folder / "camera.y4m", portrait[:384, 60:420])
    with chromium(camera, write_microphone(folder / "microphone.wav")) as browser:
        page = browser.new_context().new_page()
        page.goto(f"{server.url}/v1/schema")  # any page of this origin; this one runs nothing of its own
        yield page


def test_a_camera_in_the_browser_becomes_numbers_in_the_browser(server: LiveServer, page: Any) -> None:
    got = page.evaluate(SEND_AND_READ, ["browser", 60])
    seen = [event for event in got["events"] if event["faces"]]
    last = seen[-1]
    assert last["state"] == "live"
    assert any(event["audio"]["status"] != "no_sound" for event in seen)
    for one, other in pairwise(seen):
        if other["t"] - one["t"] < 0.5:  # who was out of sight for longer may count as somebody else
            assert [face["track"] for face in one["faces"]] == [face["track"] for face in other["faces"]]
    x, _, width, _ = last["faces"][0]["box"]
    assert 0 < x + width / 2 < last["image_size"][0]
    assert -1 <= last["faces"][0]["valence"] <= 1
    assert got["late"] == 204
    times = [event["t"] for event in got["events"]]
    assert times == sorted(times)
    assert page.evaluate("leave()") == 200
    assert server.app.state.whip_peers == {}


def test_a_tab_that_is_closed_ends_its_session(server: LiveServer, page: Any) -> None:
    tab = page.context.new_page()
    tab.goto(f"{server.url}/v1/schema")
    tab.evaluate(SEND_AND_READ, ["tab", 5])
    tab.close()
    with server.client() as client:
        while client.get("/v1/sessions/tab").json()["state"] != "ended":
            page.wait_for_timeout(50)
    while server.app.state.whip_peers:
        page.wait_for_timeout(50)


@pytest.mark.parametrize(("exists", "error"), [(True, "NotAllowedError"), (False, "NotFoundError")])
def test_a_camera_that_is_refused_or_missing_is_an_error_that_pages_can_tell(
    server: LiveServer, portrait: NDArray[np.uint8], tmp_path: Path, exists: bool, error: str
) -> None:
    camera = write_camera(tmp_path / "camera.y4m", portrait, seconds=0.2) if exists else None
    with chromium(camera, allow=False) as browser:
        page = browser.new_context().new_page()
        page.goto(f"{server.url}/v1/schema")
        asked = "navigator.mediaDevices.getUserMedia({video: true}).then(() => 'given', error => error.name)"
        assert page.evaluate(asked) == error
