"""RTSP: a real server that dies and comes back, refuses, or never answers."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import beep, write_clip
from helpers.rtsp import RtspServer
from helpers.watcher import Watcher

from service import metrics
from service.capture.media import SAMPLE_RATE, State, StateChange
from service.capture.source import Timeouts


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
        rtsp.start()
        watcher.wait_for_state(State.LIVE)
        watcher.wait_for_media(10)
    frames = watcher.frames
    assert np.diff([frame.t for frame in frames]).min() > 0
    last, next_ = frames[lost - 1], frames[lost]
    assert next_.t - last.t < next_.entered - last.entered + 10.0
    assert metrics.RECONNECTS.labels("source")._value.get() > before


def test_rtsp_that_falls_silent_is_stalled_then_live_again(rtsp: RtspServer) -> None:
    with Watcher(rtsp.url, Timeouts(open=60.0, read=60.0, stall=0.5)) as watcher:
        watcher.wait_for_media(10)
        rtsp.pause(signal.SIGSTOP)
        watcher.wait_for_state(State.LIVE, State.STALLED)
        rtsp.pause(signal.SIGCONT)
        watcher.wait_for_state(State.STALLED, State.LIVE)


def test_rtsp_silence_beyond_the_read_timeout_counts_as_lost(rtsp: RtspServer) -> None:
    with Watcher(rtsp.url, Timeouts(open=60.0, read=2.0, stall=60.0)) as watcher:
        watcher.wait_for_media(5)
        before = len(watcher.items)
        rtsp.pause(signal.SIGSTOP)
        watcher.wait_for(lambda items: State.RECONNECTING in [getattr(one, "state", None) for one in items[before:]])
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
        with Watcher(f"rtsp://127.0.0.1:{port}/x", Timeouts(open=600.0, read=600.0)) as watcher:
            watcher.wait_for_state(State.CONNECTING)  # to leave the watcher stops it, and waits for a minute at most


def test_the_open_timeout_interrupts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with Watcher(f"rtsp://127.0.0.1:{port}/x", Timeouts(open=0.3, read=0.3)) as watcher:
            watcher.wait_for(lambda items: any("no answer within 0.3 s" in str(item) for item in items))


def test_a_host_that_is_not_known_is_said_in_a_sentence() -> None:
    with Watcher("rtsp://no-such-camera.invalid/stream") as watcher:
        watcher.wait_for(
            lambda items: any("the host no-such-camera.invalid is not known here" in str(i) for i in items)
        )
        assert "Input/output" not in str(watcher.items)


def test_a_host_that_hangs_up_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with Watcher(f"rtsp://127.0.0.1:{server.getsockname()[1]}/stream") as watcher:
            watcher.wait_for(lambda items: any("speaks no RTSP, or ends the connection" in str(i) for i in items))
            assert "Invalid data" not in str(watcher.items)
        server.shutdown(socket.SHUT_RDWR)


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
