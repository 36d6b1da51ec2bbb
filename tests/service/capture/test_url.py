"""Addresses: a real RTSP server that dies and comes back, and real HTTP servers."""

import functools
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from helpers.clips import beep, picture, write_clip
from helpers.rtsp import RtspServer

from service import metrics
from service.capture.inbox import Inbox
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.open import open_source
from service.capture.reader import SourceReader
from service.capture.source import Timeouts

PATIENCE = 30.0  # seconds after which a test gives up waiting
QUICK = Timeouts(open=5.0, read=3.0, stall=0.5)


class Watcher:
    """Reads a source in a thread and lets the test wait for what it wants to see."""

    def __init__(self, url: str, timeouts: Timeouts = QUICK, *, realtime: bool = True) -> None:
        self.items: list[Item] = []
        self.stop = threading.Event()
        self._changed = threading.Condition()
        self._source = open_source(url, realtime=realtime, timeouts=timeouts)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        for item in self._source.read(self.stop):
            with self._changed:
                self.items.append(item)
                self._changed.notify_all()

    def wait_for(self, seen: Callable[[list[Item]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: seen(self.items), PATIENCE), self.states

    @property
    def states(self) -> list[State]:
        return [item.state for item in self.items if isinstance(item, StateChange)]

    @property
    def frames(self) -> list[Frame]:
        return [item for item in self.items if isinstance(item, Frame)]

    @property
    def sounds(self) -> list[Sound]:
        return [item for item in self.items if isinstance(item, Sound)]

    def wait_for_state(self, *states: State) -> None:
        """Until the last states are `states`."""
        self.wait_for(lambda _: tuple(self.states[-len(states) :]) == states)

    def wait_for_media(self, frames: int) -> None:
        """Until so many more frames came."""
        wanted = len(self.frames) + frames
        self.wait_for(lambda _: len(self.frames) >= wanted)


@pytest.fixture
def rtsp(tmp_path: Path) -> Iterator[RtspServer]:
    clip = write_clip(tmp_path / "clip.mp4", seconds=30.0, sound=beep(30.0, at=1.0))
    server = RtspServer(clip, sound=True)
    server.start()
    yield server
    server.stop()


def test_rtsp_gives_frames_and_sound(rtsp: RtspServer) -> None:
    with Watcher(rtsp.url) as watcher:
        watcher.wait_for_media(50)
    assert watcher.states[:2] == [State.CONNECTING, State.LIVE]
    assert watcher.frames[0].image.shape == (90, 160, 3)
    assert watcher.frames[0].image[80, 10].min() > 230
    periods = np.diff([frame.t for frame in watcher.frames])
    assert np.median(periods) == pytest.approx(0.04, abs=0.002)
    ends = [sound.t + len(sound.samples) / SAMPLE_RATE for sound in watcher.sounds]
    assert np.abs(np.array([sound.t for sound in watcher.sounds[1:]]) - ends[:-1]).max() < 0.06
    assert abs(watcher.sounds[0].t - watcher.frames[0].t) < 1.0


def test_rtsp_sound_stays_with_its_picture(rtsp: RtspServer) -> None:
    with Watcher(rtsp.url) as watcher:
        watcher.wait_for_media(45)
        watcher.wait_for(lambda _: watcher.sounds[-1].t > watcher.frames[40].t)
    # The clip beeps at its second 1, where picture 25 is shown, whose brightness tells its number.
    beeping = next(sound for sound in watcher.sounds if np.abs(sound.samples).max() > 0.2)
    onset = beeping.t + int(np.argmax(np.abs(beeping.samples) > 0.2)) / SAMPLE_RATE
    levels = np.array([frame.image[10, 10, 0] for frame in watcher.frames], int)
    shown = watcher.frames[int(np.argmin(np.abs(levels - 125)))].t
    assert onset == pytest.approx(shown, abs=0.15)


def test_rtsp_that_dies_is_reconnected_and_time_goes_on(rtsp: RtspServer) -> None:
    before = metrics.RECONNECTS.labels("source")._value.get()
    with Watcher(rtsp.url) as watcher:
        watcher.wait_for_media(10)
        rtsp.stop()
        watcher.wait_for(lambda _: watcher.states[-1] is State.RECONNECTING)
        lost = len(watcher.frames)
        died = time.monotonic()
        rtsp.start()
        watcher.wait_for_state(State.LIVE)
        watcher.wait_for_media(10)
        away = time.monotonic() - died
    times = [frame.t for frame in watcher.frames]
    assert np.diff(times).min() > 0
    assert times[lost] - times[lost - 1] < away + 1.0
    assert metrics.RECONNECTS.labels("source")._value.get() > before


def test_rtsp_that_falls_silent_is_stalled_then_live_again(rtsp: RtspServer) -> None:
    with Watcher(rtsp.url, Timeouts(open=5.0, read=20.0, stall=0.5)) as watcher:
        watcher.wait_for_media(10)
        rtsp.pause(signal.SIGSTOP)
        watcher.wait_for_state(State.LIVE, State.STALLED)
        rtsp.pause(signal.SIGCONT)
        watcher.wait_for_state(State.STALLED, State.LIVE)


def test_rtsp_silence_beyond_the_read_timeout_counts_as_lost(rtsp: RtspServer) -> None:
    with Watcher(rtsp.url, Timeouts(open=2.0, read=1.0, stall=0.3)) as watcher:
        watcher.wait_for_media(5)
        rtsp.pause(signal.SIGSTOP)
        watcher.wait_for_state(State.LIVE, State.STALLED, State.RECONNECTING)
        rtsp.pause(signal.SIGCONT)


def test_an_address_that_is_not_there_yet_is_waited_for(rtsp: RtspServer) -> None:
    rtsp.stop()
    with Watcher(rtsp.url.replace("://", "://user:hunter2@")) as watcher:
        watcher.wait_for(lambda items: len(items) >= 2)
        assert set(watcher.states) == {State.CONNECTING}
        rtsp.start()
        watcher.wait_for_state(State.LIVE)
    assert "hunter2" not in str([item for item in watcher.items if isinstance(item, StateChange)])


def test_an_rtsp_path_that_does_not_exist_fails(rtsp: RtspServer) -> None:
    with Watcher(rtsp.url.replace("/clip", "/nothing")) as watcher:
        watcher.wait_for_state(State.CONNECTING, State.FAILED)


def test_a_server_that_never_answers_does_not_hold_up_stopping() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with Watcher(f"rtsp://127.0.0.1:{port}/x", Timeouts(open=60.0, read=60.0)) as watcher:
            watcher.wait_for_state(State.CONNECTING)
            asked = time.monotonic()
        assert time.monotonic() - asked < 5.0  # far below the 60 s of the open time-out


def test_the_open_timeout_interrupts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with Watcher(f"rtsp://127.0.0.1:{port}/x", Timeouts(open=0.3, read=0.3)) as watcher:
            watcher.wait_for(lambda items: any("no answer within 0.3 s" in str(item) for item in items))


@contextmanager
def http_server(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("transport", ["", "?transport=auto", "?transport=udp"])
def test_a_camera_that_refuses_tcp_is_read_over_udp(tmp_path: Path, transport: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=20.0)
    server = RtspServer(clip, sound=False, udp=True)
    server.start()
    try:
        with Watcher(server.url + transport) as watcher:
            watcher.wait_for_media(20)
        assert watcher.states[:2] == [State.CONNECTING, State.LIVE]
    finally:
        server.stop()


def test_a_camera_that_refuses_tcp_is_not_read_where_tcp_was_asked_for(tmp_path: Path) -> None:
    server = RtspServer(write_clip(tmp_path / "clip.mp4", seconds=20.0), sound=False, udp=True)
    server.start()
    try:
        with Watcher(f"{server.url}?transport=tcp") as watcher:
            watcher.wait_for(lambda items: len(items) >= 2)
        assert watcher.frames == []
        assert "trying again" in watcher.items[1].detail  # type: ignore[union-attr]
    finally:
        server.stop()


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


@pytest.mark.parametrize("server", [NoRanges, UntilClosed, Chunked, QuietFiles])
@pytest.mark.parametrize("name", ["clip.webm", "clip.ts"])
def test_a_recording_without_a_duration_ends_by_itself(tmp_path: Path, server: type[QuietFiles], name: str) -> None:
    """A browser's MediaRecorder writes such WebM, and cameras write such transport streams."""
    webm = name.endswith("webm")
    write_clip(
        tmp_path / name, seconds=4.0, codec="libvpx" if webm else "libx264", options={"live": "1"} if webm else {}
    )
    with http_server(functools.partial(server, directory=str(tmp_path))) as address:
        items = list(open_source(f"{address}/{name}", realtime=False, timeouts=QUICK).read(threading.Event()))
    assert sum(isinstance(item, Frame) for item in items) == 100
    assert [item.state for item in items if isinstance(item, StateChange)] == [
        State.CONNECTING,
        State.LIVE,
        State.ENDED,
    ]


def test_a_recording_of_unknown_length_plays_at_its_own_speed(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.webm", seconds=3.0, codec="libvpx", options={"live": "1"})
    with (
        http_server(functools.partial(Chunked, directory=str(tmp_path))) as address,
        Watcher(f"{address}/clip.webm") as watcher,
    ):
        watcher.wait_for_state(State.ENDED)
    frames = watcher.frames
    assert len(frames) == 75
    assert frames[-1].entered - frames[0].entered > 0.9 * (frames[-1].t - frames[0].t)


def test_an_index_at_the_end_behind_a_server_without_ranges_is_said_and_final(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", size=(640, 360), seconds=40.0, sound=beep(40.0, at=1.0))
    assert path.stat().st_size > 500_000  # more than FFmpeg keeps in memory
    with http_server(functools.partial(NoRanges, directory=str(tmp_path))) as address:
        items = list(open_source(f"{address}/clip.mp4", realtime=False, timeouts=QUICK).read(threading.Event()))
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
    assert inbox.dropped_frames <= 20  # of 200; without pacing 50 of each 50 but the last few
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
        items = list(open_source(f"{address}/clip.mp4", realtime=False, timeouts=QUICK).read(threading.Event()))
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
    assert np.median(np.diff(times)) == pytest.approx(0.1, abs=0.05)  # not the 25 a second that FFmpeg invents


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
