"""HTTP: real servers that send recordings and live streams, whole, cut, in bursts, or something else."""

import contextlib
import functools
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from helpers.clips import beep, picture, write_clip
from helpers.watcher import PATIENCE, PATIENT, Watcher, http_server

from service.capture.inbox import Inbox
from service.capture.media import Frame, State, StateChange
from service.capture.open import open_source
from service.capture.reader import SourceReader


class QuietFiles(SimpleHTTPRequestHandler):
    """A folder, without the log."""

    def log_message(self, *_: object) -> None: ...


class HalfFile(QuietFiles):
    """Says a file's whole length and hangs up in the middle, whatever is asked."""

    def do_GET(self) -> None:
        data = (Path(self.directory) / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])


class MidStream(QuietFiles):
    """A live transport stream that is joined five seconds before its next key frame, at its own speed."""

    def do_GET(self) -> None:
        data = (Path(self.directory) / self.path[1:]).read_bytes()
        packets = [data[at : at + 188] for at in range(0, len(data), 188)]
        tables = packets[:3]  # what is in the stream
        begin = len(packets) // 12  # of 12 s, with key frames at 0 and 6
        self.send_response(200)
        self.end_headers()
        try:
            self.wfile.write(b"".join(tables))
            for at in range(begin, len(packets), 10):
                self.wfile.write(b"".join(packets[at : at + 10]))
                time.sleep(12 / len(packets) * 10)
        except OSError:
            return


def test_a_stream_is_waited_for_until_its_key_frame_comes_and_that_is_said(tmp_path: Path) -> None:
    command = (
        "ffmpeg -v error -y -f lavfi -i testsrc=s=320x180:r=25 -t 12 -c:v libx264 -preset ultrafast -g 150 "
        f"-keyint_min 150 -sc_threshold 0 -b:v 600k -maxrate 600k -bufsize 100k {tmp_path}/clip.ts"
    )
    subprocess.run(command.split(), check=True)
    with (
        http_server(functools.partial(MidStream, directory=str(tmp_path))) as address,
        Watcher(f"{address}/clip.ts") as watcher,
    ):
        watcher.wait_for_media(5)
    said = [item for item in watcher.items if isinstance(item, StateChange)]
    assert [item.state for item in said[:3]] == [State.CONNECTING, State.CONNECTING, State.LIVE]
    assert "waiting for" in said[1].detail
    assert "key frame" in said[1].detail


class NoRanges(QuietFiles):
    """Says a file's length, but gives it only from its beginning."""

    def do_GET(self) -> None:
        data = (Path(self.directory) / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class UntilClosed(QuietFiles):
    """Says no length: the answer ends with the connection (HTTP/1.0)."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write((Path(self.directory) / self.path[1:]).read_bytes())


class Chunked(QuietFiles):
    """Says no length, but marks the end (HTTP/1.1)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        data = (Path(self.directory) / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for at in range(0, len(data), 10_000):
            piece = data[at : at + 10_000]
            self.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")


class Ranges(QuietFiles):
    """Answers requests for ranges, and closes a connection where asked to without saying so (HTTP/1.1)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        data = (Path(self.directory) / self.path[1:]).read_bytes()
        start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        with contextlib.suppress(OSError):  # who goes elsewhere hangs up
            self.wfile.write(data[start:])


def test_no_picture_is_lost_on_the_way_to_an_index_at_the_end_and_back(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", size=(640, 360), seconds=40.0)
    assert path.stat().st_size > 500_000  # more than FFmpeg keeps in memory
    with http_server(functools.partial(Ranges, directory=str(tmp_path))) as address:
        items = list(open_source(f"{address}/clip.mp4", realtime=False, timeouts=PATIENT).read(threading.Event()))
    assert sum(isinstance(item, Frame) for item in items) == 1000
    assert isinstance(items[-1], StateChange)
    assert items[-1].state is State.ENDED


@pytest.mark.parametrize("server", [NoRanges, UntilClosed, Chunked, QuietFiles])
@pytest.mark.parametrize("name", ["clip.webm", "clip.ts"])
def test_a_recording_without_a_duration_ends_by_itself(tmp_path: Path, server: type[QuietFiles], name: str) -> None:
    """A browser's MediaRecorder writes such WebM, and cameras write such transport streams."""
    webm = name.endswith("webm")
    write_clip(
        tmp_path / name, seconds=4.0, codec="libvpx" if webm else "libx264", options={"live": "1"} if webm else {}
    )
    with http_server(functools.partial(server, directory=str(tmp_path))) as address:
        items = list(open_source(f"{address}/{name}", realtime=False, timeouts=PATIENT).read(threading.Event()))
    assert sum(isinstance(item, Frame) for item in items) == 100
    assert [item.state for item in items if isinstance(item, StateChange)] == [
        State.CONNECTING,
        State.LIVE,
        State.ENDED,
    ]


def test_a_recording_of_unknown_length_plays_at_its_own_speed(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.webm", seconds=3.0, codec="libvpx", options={"live": "1"})
    began = time.perf_counter()
    with (
        http_server(functools.partial(Chunked, directory=str(tmp_path))) as address,
        Watcher(f"{address}/clip.webm") as watcher,
    ):
        watcher.wait_for_state(State.ENDED)
    frames = watcher.frames
    assert len(frames) == 75
    assert all(frame.entered - began >= frame.t - frames[0].t for frame in frames)  # none before its time


def test_an_index_at_the_end_behind_a_server_without_ranges_is_said_and_final(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", size=(640, 360), seconds=40.0, sound=beep(40.0, at=1.0))
    assert path.stat().st_size > 500_000  # more than FFmpeg keeps in memory
    with http_server(functools.partial(NoRanges, directory=str(tmp_path))) as address:
        items = list(open_source(f"{address}/clip.mp4", realtime=False, timeouts=PATIENT).read(threading.Event()))
    assert isinstance(items[-1], StateChange)
    assert items[-1].state is State.FAILED
    assert "faststart" in items[-1].detail


def test_hls_loses_no_frames_although_it_comes_in_bursts(tmp_path: Path) -> None:
    """A live playlist whose segments of 2 s appear one after the other, read as a session does, newest frame first."""
    command = (
        "ffmpeg -v error -re -f lavfi -i testsrc=s=160x90:r=25 -t 60 -c:v libx264 -preset ultrafast -g 50 "
        f"-f hls -hls_time 2 -hls_list_size 4 -hls_flags delete_segments {tmp_path}/live.m3u8"
    )
    with subprocess.Popen(command.split()) as sender:
        try:
            while not (tmp_path / "live.m3u8").exists():
                assert sender.poll() is None
                time.sleep(0.1)
            with http_server(functools.partial(QuietFiles, directory=str(tmp_path))) as address:
                inbox = Inbox()
                reader = SourceReader(open_source(f"{address}/live.m3u8"), inbox)
                reader.start()
                times: list[float] = []
                while len(times) < 200:
                    arrival = inbox.take(PATIENCE)
                    assert arrival.frame is not None or arrival.states
                    if arrival.frame is not None:
                        times.append(arrival.frame.t)
                reader.stop()
        finally:
            sender.kill()
    assert inbox.dropped_frames < len(times)  # without pacing each segment of 50 is dropped but for its last few
    assert np.median(np.diff(times)) == pytest.approx(0.04, abs=0.002)


class NoFirstBoundary(BaseHTTPRequestHandler):
    """A camera whose answer begins with a picture, not with the boundary before it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(200):
            jpeg = cv2.imencode(".jpg", picture(number, 160, 96)[:, :, ::-1])[1].tobytes()
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + jpeg + b"\r\n--frame\r\n")
            except OSError:
                return
            time.sleep(0.05)

    def log_message(self, *_: object) -> None: ...


def test_motion_jpeg_without_a_first_boundary_is_read() -> None:
    with http_server(NoFirstBoundary) as address, Watcher(f"{address}/camera") as watcher:
        watcher.wait_for_media(10)
    assert watcher.frames[-1].image.shape == (96, 160, 3)


class Motion(BaseHTTPRequestHandler):
    """A camera that sends JPEG pictures without time stamps, ten a second, and hangs up after each fifteen."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(15):
            jpeg = cv2.imencode(".jpg", picture(number, 160, 96)[:, :, ::-1])[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:
                return
            time.sleep(0.1)

    def log_message(self, *_: object) -> None: ...


def test_a_recording_over_http_is_played_like_a_file(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", sound=beep(2.0, at=1.0), options={"movflags": "faststart"})
    with http_server(functools.partial(QuietFiles, directory=str(tmp_path))) as address:
        remote = list(open_source(f"{address}/clip.mp4", realtime=False).read(threading.Event()))
    local = list(open_source(str(path), realtime=False).read(threading.Event()))
    for one, other in zip(remote[2:-1], local[1:-1], strict=True):
        assert one.t == other.t  # type: ignore[union-attr]
        if isinstance(one, Frame) and isinstance(other, Frame):
            np.testing.assert_array_equal(one.image, other.image)
    assert remote[-1] == local[-1]


def test_a_recording_that_http_cuts_says_so(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", size=(320, 180), seconds=8.0, options={"movflags": "faststart"})
    with http_server(functools.partial(HalfFile, directory=str(tmp_path))) as address:
        items = list(open_source(f"{address}/clip.mp4", realtime=False, timeouts=PATIENT).read(threading.Event()))
    assert any(isinstance(item, Frame) for item in items)
    assert isinstance(items[-1], StateChange)
    assert items[-1].state is State.ENDED
    assert "Cut short" in items[-1].detail


def test_a_live_picture_stream_over_http_runs_on_its_arrival_and_reconnects() -> None:
    with http_server(Motion) as address, Watcher(f"{address}/camera") as watcher:
        watcher.wait_for_state(State.RECONNECTING, State.LIVE)
        watcher.wait_for_media(5)
    times = np.array([frame.t for frame in watcher.frames])
    assert np.diff(times).min() > 0
    assert np.median(np.diff(times)) > 0.06  # not the 25 a second that FFmpeg invents


@pytest.mark.parametrize("name", ["missing.mp4", "page.html"])
def test_an_http_address_without_a_video_fails_with_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "page.html").write_text("<p>Not a video</p>" * 1000)
    with http_server(functools.partial(QuietFiles, directory=str(tmp_path))) as address:
        items = list(open_source(f"{address}/{name}?token=hunter2", realtime=True).read(threading.Event()))
    assert isinstance(items[-1], StateChange)
    assert items[-1].state is State.FAILED
    assert name in items[-1].detail
    assert "hunter2" not in items[-1].detail


class Lure(BaseHTTPRequestHandler):
    """An allowed address that points elsewhere: to a file of this machine, or to a port that is to be opened on it."""

    def do_GET(self) -> None:
        kind, _, place = self.path[1:].partition("/")
        text = {
            "redirect": "",
            "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///{place}\n#EXT-X-ENDLIST\n",
            "list": f"ffconcat version 1.0\nfile 'file:///{place}'\n",
            "description": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n"
            "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        }[kind]
        self.send_response(302 if kind == "redirect" else 200)
        if kind == "redirect":
            self.send_header("Location", f"file:///{place}")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize("kind", ["redirect", "playlist", "list", "description"])
def test_an_address_leads_to_no_other_protocol(tmp_path: Path, kind: str) -> None:
    clip = write_clip(tmp_path / "private.ts")
    with http_server(Lure) as address, Watcher(f"{address}/{kind}{clip}") as watcher:
        opened = set[int]()
        while not any("trying again" in str(item) or "cannot be opened" in str(item) for item in [*watcher.items]):
            opened |= {socket.laddr.port for socket in psutil.Process().net_connections("udp")}
            time.sleep(0.05)
        assert watcher.frames == []
        assert opened == set()
