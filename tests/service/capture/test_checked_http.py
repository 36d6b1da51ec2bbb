"""HTTP sources that strangers name: where redirects and playlists lead is checked before it is contacted."""

import contextlib
import functools
import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import cv2
import httpx
import pytest
from helpers.clips import picture, write_clip
from helpers.live_server import serving
from helpers.watcher import PATIENT, Watcher
from helpers.whip import whip_app

from models.errors import UserError
from service.capture.allowed_sources import check_of
from service.capture.media import Frame, State, StateChange
from service.capture.open import open_source
from service.capture.source import Timeouts

PATIENCE = 180.0


class Redirecting(SimpleHTTPRequestHandler):
    """Serves a folder; `/to/URL` is redirected to that address, and `/twice/NAME` to a redirect to the file."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        target = None
        if self.path.startswith("/to/"):
            target = self.path.removeprefix("/to/")
        elif self.path.startswith("/twice/"):
            target = "/to/" + "/" + self.path.removeprefix("/twice/")
        elif self.path == "/round":
            target = "/round"
        if target is None:
            super().do_GET()
            return
        self.send_response(302)
        self.send_header("location", target)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def host(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of that folder's files, and the list of the paths it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Redirecting, directory=str(folder)))
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def read(url: str, *allowed: str) -> tuple[int, StateChange]:
    """The number of pictures, and the last change of state."""
    source = open_source(url, realtime=False, check=check_of(url, allowed))
    items = [*source.read(threading.Event())]
    return sum(isinstance(item, Frame) for item in items), [i for i in items if isinstance(i, StateChange)][-1]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip.ts", seconds=1.0)
    playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n"
    (tmp_path / "own.m3u8").write_text(playlist.format("clip.ts"))
    (tmp_path / "file.m3u8").write_text(playlist.format("file:///etc/hostname"))
    return tmp_path


def test_redirects_within_what_is_allowed_are_followed(clips: Path) -> None:
    with host(clips) as (url, _):
        for path in ("clip.ts", "twice/clip.ts", "own.m3u8", "twice/own.m3u8"):
            frames, last = read(f"{url}/{path}", url)
            assert (frames > 20, last.state) == (True, State.ENDED), path


def test_nobody_else_is_contacted(clips: Path) -> None:
    with host(clips) as (url, _), host(clips) as (other, asked):
        playlist = (clips / "own.m3u8").read_text("utf-8").replace("clip.ts", f"{other}/clip.ts")
        (clips / "other.m3u8").write_text(playlist)
        key = playlist.replace("#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{other}/key"\n#EXTINF')
        (clips / "key.m3u8").write_text(key.replace(f"{other}/clip.ts", "clip.ts"))
        for path in (f"to/{other}/clip.ts", "other.m3u8", "key.m3u8", "file.m3u8", f"to/{other}/own.m3u8"):
            frames, last = read(f"{url}/{path}", url)
            assert (frames, last.state) == (0, State.FAILED), path
        assert asked == []
        assert read(f"{url}/other.m3u8", url, other)[0] > 20
        assert read(f"{url}/other.m3u8", "http:")[0] > 20


def test_a_round_of_redirects_ends(clips: Path) -> None:
    with host(clips) as (url, _):
        _, last = read(f"{url}/round", url)
    assert "redirected more than 8 times" in last.detail


def test_a_refused_status_is_final(clips: Path) -> None:
    with host(clips) as (url, _):
        _, last = read(f"{url}/nothing.ts", url)
    assert last.state is State.FAILED
    assert "404" in last.detail


class Odd(BaseHTTPRequestHandler):
    """Servers that answer in ways of their own; `/NAME` is answered by the method `NAME`."""

    protocol_version = "HTTP/1.1"
    clip = b""
    long = b""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            getattr(self, self.path[1:].partition(".")[0])()

    def packed(self) -> None:
        """A playlist, compressed for those who take that."""
        text = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\nplain.ts\n#EXT-X-ENDLIST\n"
        taken = "gzip" in (self.headers["accept-encoding"] or "")
        self.give(gzip.compress(text) if taken else text, *([("content-encoding", "gzip")] if taken else []))

    def plain(self) -> None:
        self.give(self.clip)

    def lying(self) -> None:
        """Another range than was asked for, of a size that cannot be."""
        self.give(self.clip, ("content-range", "bytes 0-99/999999999999999"), status=206)

    def endless(self) -> None:
        """A size beyond every file's."""
        self.give(self.clip, ("content-range", "bytes 0-99/99999999999999999999"), status=206)

    def drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        for byte in self.clip:
            self.wfile.write(bytes([byte]))
            time.sleep(0.1)

    def small(self) -> None:
        """Small JPEG pictures, less than 64 KiB in all, each once one of those before was seen."""
        self.send_response(200)
        self.send_header("content-type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(40):
            jpeg = cv2.imencode(".jpg", picture(number, 64, 48))[1].tobytes()
            self.server.may_send.acquire(timeout=PATIENCE)  # type: ignore[attr-defined]
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")

    def icy(self) -> None:
        """The first line of a Shoutcast server, which is no HTTP."""
        self.wfile.write(b"ICY 200 OK\r\ncontent-type: audio/mpeg\r\n\r\n" + self.clip)

    def hung_up(self) -> None:
        self.close_connection = True

    def chunked(self) -> None:
        """The clip in pieces of an unknown number, the last of which never says that it is the last."""
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for at in range(0, len(self.long), 5000):
            part = self.long[at : at + 5000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.close_connection = True

    def give(self, data: bytes, *headers: tuple[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in (*headers, ("content-length", str(len(data)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    clips = {"clip": write_clip(tmp_path / "a.ts", seconds=1.0), "long": write_clip(tmp_path / "b.ts", seconds=3.0)}
    handler = type("Own", (Odd,), {name: path.read_bytes() for name, path in clips.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.asked = []  # type: ignore[attr-defined]
    server.may_send = threading.Semaphore(10)  # type: ignore[attr-defined]  # what is looked at to know the format
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def watch(server: ThreadingHTTPServer, path: str, timeouts: Timeouts = PATIENT) -> Watcher:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return Watcher(url + path, timeouts, check=check_of(url, [url]))


def test_a_playlist_that_a_server_could_compress_is_read(odd: ThreadingHTTPServer) -> None:
    with watch(odd, "/packed.m3u8") as watcher:
        watcher.wait_for_state(State.ENDED)
    assert len(watcher.frames) == 25


@pytest.mark.parametrize("path", ["/lying.mp4", "/endless.mp4"])
def test_a_server_that_lies_about_ranges_is_left_soon(odd: ThreadingHTTPServer, path: str) -> None:
    with watch(odd, path) as watcher:
        watcher.wait_for(lambda items: len(items) >= 2)
        assert "broke" not in str(watcher.items)
    assert len(odd.asked) < 50  # type: ignore[attr-defined]


def test_what_speaks_no_http_is_refused_with_a_sentence(odd: ThreadingHTTPServer) -> None:
    with watch(odd, "/icy") as watcher:
        watcher.wait_for_state(State.FAILED)
        (last,) = [item for item in watcher.items if isinstance(item, StateChange) and item.state is State.FAILED]
    assert "speaks no HTTP" in last.detail
    assert "127.0.0.1" in last.detail


def test_a_server_that_only_hangs_up_is_tried_again(odd: ThreadingHTTPServer) -> None:
    with watch(odd, "/hung_up") as watcher:
        watcher.wait_for(lambda items: any("trying again" in str(item) for item in items))
        assert State.FAILED not in watcher.states


def test_an_answer_in_pieces_without_a_last_one_is_a_recording_that_ends(odd: ThreadingHTTPServer) -> None:
    with watch(odd, "/chunked.ts") as watcher:
        watcher.wait_for_state(State.ENDED)
    assert len(watcher.frames) >= 72  # the last two are cut off with the connection


def test_bytes_that_come_one_by_one_are_not_waited_for_without_end(odd: ThreadingHTTPServer) -> None:
    with watch(odd, "/drip.ts", Timeouts(open=1.0, read=1.0, stall=0.5)) as watcher:
        watcher.wait_for(lambda items: any("no answer within 1 s" in str(item) for item in items))


def test_small_pictures_of_a_live_camera_come_at_once(odd: ThreadingHTTPServer) -> None:
    with watch(odd, "/small.mjpg") as watcher:
        for seen in range(1, 21):
            watcher.wait_for(lambda items: sum(isinstance(item, Frame) for item in items) >= seen)  # noqa: B023
            odd.may_send.release()  # type: ignore[attr-defined]
        times = [frame.t for frame in watcher.frames]
    assert all(one < other for one, other in pairwise(times))


def test_operators_own_sources_may_lead_anywhere() -> None:
    assert check_of("http://cams.lab/", None) is None
    assert check_of("http://cams.lab/", ["demo:", "http:", "HTTPS:"]) is None
    check = check_of("https://cams.lab/hall/a", ["https://cams.lab/hall/"])
    assert check is not None
    check("https://cams.lab/hall/one.mp4")
    for address in ("https://cams.lab/other", "http://cams.lab/hall/one.mp4", "http://169.254.169.254/latest"):
        with pytest.raises(UserError, match="may not be opened"):
            check(address)


def test_a_source_opened_by_the_api_is_not_led_elsewhere(clips: Path) -> None:
    with host(clips) as (url, _), host(clips) as (other, asked):
        with (
            serving(whip_app(allowed_sources=[url])) as server,
            httpx.Client(base_url=server.url, timeout=60) as client,
        ):
            answer = client.post("/v1/sessions", json={"source": f"{url}/to/{other}/clip.ts", "name": "led"})
            assert answer.status_code == 201
            session = server.live.sessions.get("led")
            deadline = threading.Event()
            while session.state is not State.FAILED:
                assert session.state is not State.LIVE
                deadline.wait(0.05)
            assert "leads to another address" in session.detail
        assert asked == []
