"""The camera and the microphone, with fakes for the two devices that a test machine lacks."""

import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.errors import UserError
from service.capture import backoff
from service.capture.camera import CameraSource, Wanted
from service.capture.media import SAMPLE_RATE, Frame, Sound, State, StateChange
from service.capture.microphone import Microphone


class FakeCamera:
    """Gives `frames` pictures, green as OpenCV sees it (BGR), then none: unplugged."""

    def __init__(self, frames: int, *, stamped: bool = True, grey: bool = False) -> None:
        self._left = frames
        self._stamped = stamped
        self._grey = grey
        self.released = False
        self.asked: dict[int, float] = {}

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        time.sleep(0.01)
        self._left -= 1
        if self._left < 0:
            return False, np.empty(0, np.uint8)
        if self._grey:
            return True, np.full((48, 64), 90, np.uint8)
        return True, np.full((48, 64, 3), (10, 200, 90), np.uint8)

    def set(self, prop: int, value: float, /) -> bool:
        self.asked[prop] = value
        return True

    def get(self, prop: int, /) -> float:
        if prop == cv2.CAP_PROP_FPS:
            return 30.0
        assert prop == cv2.CAP_PROP_POS_MSEC
        return (time.monotonic() - 0.005) * 1000 if self._stamped else 0.0

    def release(self) -> None:
        self.released = True


def source_of(*cameras: FakeCamera, audio: bool | None = False) -> CameraSource:
    """Camera 0, which is each of `cameras` in turn and then missing."""
    waiting = [*cameras]
    return CameraSource(0, "camera:0", audio=audio, open_device=lambda _: waiting.pop(0) if waiting else FakeCamera(0))


def collect(source: CameraSource, enough: Callable[[list[Any]], bool]) -> list[Any]:
    stop, items = threading.Event(), []
    for item in source.read(stop):
        items.append(item)
        if enough(items):
            stop.set()
    return items


def frames_in(items: list[Any]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def states_in(items: list[Any]) -> list[State]:
    return [item.state for item in items if isinstance(item, StateChange)]


@pytest.mark.parametrize("stamped", [True, False])
def test_frames_are_rgb_on_a_rising_clock(stamped: bool) -> None:
    began = time.monotonic()
    items = collect(source_of(FakeCamera(1000, stamped=stamped)), lambda items: len(frames_in(items)) >= 10)
    frames = frames_in(items)
    assert tuple(frames[0].image[0, 0]) == (90, 200, 10)
    assert np.diff([frame.t for frame in frames]).min() > 0
    assert frames[-1].t <= time.monotonic() - began  # a stamp counts from the machine's start
    assert states_in(items)[:2] == [State.CONNECTING, State.LIVE]


def test_grey_cameras_give_three_channels() -> None:
    items = collect(source_of(FakeCamera(1000, grey=True)), lambda items: bool(frames_in(items)))
    assert frames_in(items)[0].image.shape == (48, 64, 3)


def live_detail(items: list[Any]) -> str:
    return next(item.detail for item in items if getattr(item, "state", None) is State.LIVE)


@pytest.mark.parametrize("size", [(1280, 720), (640, 480)])
def test_a_camera_is_asked_for_size_and_rate_and_what_it_gives_is_said(size: tuple[int, int]) -> None:
    camera = FakeCamera(1000)
    source = CameraSource(0, "camera:0", audio=False, wanted=Wanted(size, 60.0), open_device=lambda _: camera)
    items = collect(source, lambda items: bool(frames_in(items)))
    assert (camera.asked[cv2.CAP_PROP_FRAME_WIDTH], camera.asked[cv2.CAP_PROP_FRAME_HEIGHT]) == size
    assert camera.asked[cv2.CAP_PROP_FPS] == 60.0
    assert (cv2.CAP_PROP_FOURCC in camera.asked) == (size == (1280, 720))  # MJPEG above VGA
    said = f"64x48 at 30 frames/s (asked for {size[0]}x{size[1]} at 60 frames/s, which the driver does not give)"
    assert said in live_detail(items)


def test_a_camera_that_was_asked_for_nothing_is_left_alone() -> None:
    camera = FakeCamera(1000)
    source = CameraSource(0, "camera:0", audio=False, open_device=lambda _: camera)
    collect(source, lambda items: bool(frames_in(items)))
    assert camera.asked == {}


def test_a_camera_that_hangs_upside_down_is_turned() -> None:
    class Half(FakeCamera):
        def read(self) -> tuple[bool, NDArray[np.uint8]]:
            came, image = super().read()
            image[:24] = 0
            return came, image

    source = CameraSource(0, "camera:0", audio=False, rotate=180, open_device=lambda _: Half(1000))
    items = collect(source, lambda items: bool(frames_in(items)))
    image = frames_in(items)[0].image
    assert image[:24].any()
    assert not image[24:].any()
    assert "turned by 180 degrees" in live_detail(items)


def test_an_unplugged_camera_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff.Backoff, "next", lambda self: 0.01)
    first, second = FakeCamera(5), FakeCamera(1000)
    items = collect(source_of(first, FakeCamera(0), second), lambda items: len(frames_in(items)) >= 10)
    assert states_in(items) == [State.CONNECTING, State.LIVE, State.RECONNECTING, State.LIVE]
    assert np.diff([frame.t for frame in frames_in(items)]).min() > 0
    assert first.released


def test_a_camera_that_gives_nothing_fails_with_a_sentence() -> None:
    items = list(source_of(FakeCamera(0)).read(threading.Event()))
    assert states_in(items) == [State.CONNECTING, State.FAILED]
    assert "another program" in items[-1].detail


def filmed_and_heard(items: list[Any]) -> bool:
    """Whether there are 40 pictures and a fifth of a second of sound."""
    heard = sum(len(item.samples) for item in items if isinstance(item, Sound))
    return len(frames_in(items)) >= 40 and heard > 0.2 * SAMPLE_RATE


class PortAudioError(Exception):
    """As sounddevice's."""


class FakeStream:
    """Calls back with 20 ms of sound, as PortAudio would, from a thread of its own."""

    def __init__(self, samplerate: int, blocksize: int, callback: Callable[..., None], **_: object) -> None:
        self._period = blocksize / samplerate
        self._block = np.full((blocksize, 1), 0.25, np.float32)
        self._callback = callback
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._closed.wait(self._period):
            times = SimpleNamespace(currentTime=5000.0, inputBufferAdcTime=5000.0 - self._period)
            self._callback(self._block, len(self._block), times, None)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()


def fake_sounddevice(rate: float | None) -> SimpleNamespace:
    """The module with one input device of that rate, or none."""

    def query_devices(kind: str) -> dict[str, object]:
        if rate is None:
            raise PortAudioError("Error querying device -1")
        return {"name": "Fake microphone", "default_samplerate": rate}

    def check_input_settings(samplerate: float, **_: object) -> None:
        if samplerate != rate:
            raise PortAudioError("Invalid sample rate")

    return SimpleNamespace(
        PortAudioError=PortAudioError,
        query_devices=query_devices,
        check_input_settings=check_input_settings,
        InputStream=FakeStream,
    )


@pytest.mark.parametrize("rate", [44_100, 48_000, 16_000])
def test_the_microphone_shares_the_cameras_clock(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(rate))
    items = collect(source_of(FakeCamera(1000), audio=None), filmed_and_heard)
    sounds = [item for item in items if isinstance(item, Sound)]
    assert sum(len(sound.samples) for sound in sounds) > 0.1 * SAMPLE_RATE
    assert np.median(np.concatenate([sound.samples for sound in sounds])) == pytest.approx(0.25, abs=0.01)
    assert np.diff([sound.t for sound in sounds]).min() > 0
    assert abs(sounds[-1].t - frames_in(items)[-1].t) < 60  # PortAudio's own clock is at second 5000
    assert "Fake microphone" in next(item.detail for item in items if getattr(item, "state", None) is State.LIVE)


def test_a_stereo_microphone_with_one_channel_turned_over_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stereo(FakeStream):
        def __init__(self, channels: int, **options: Any) -> None:
            super().__init__(**options)
            assert channels == 2
            tone = np.sin(np.arange(len(self._block)) * 0.1)
            self._block = np.stack([tone, -tone], axis=1).astype(np.float32)

    module = fake_sounddevice(48_000)
    module.InputStream = Stereo
    module.query_devices = lambda kind: {"name": "Pair", "default_samplerate": 48_000, "max_input_channels": 2}
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    items = collect(source_of(FakeCamera(1000), audio=None), filmed_and_heard)
    heard = [item.samples for item in items if isinstance(item, Sound)]
    assert np.abs(np.concatenate(heard)[SAMPLE_RATE // 10 :]).max() > 0.9


def test_a_camera_without_a_microphone_goes_without_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(None))
    items = collect(source_of(FakeCamera(1000), audio=None), lambda items: bool(frames_in(items)))
    assert not any(isinstance(item, Sound) for item in items)
    assert "without sound" in str(items[1])


def test_a_microphone_that_was_asked_for_and_is_missing_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(None))
    with pytest.raises(UserError, match="No microphone"):
        source_of(FakeCamera(1000), audio=True)


def test_a_missing_portaudio_gets_a_sentence_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        """Raises as sounddevice does where the library is not found."""

        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(UserError, match="apt-get install libportaudio2"):
        Microphone(0.0)
