"""A camera of this machine through OpenCV, with the default microphone on the same clock."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from service import metrics
from service.capture.backoff import Backoff
from service.capture.media import Frame, Item, State, StateChange
from service.capture.microphone import Microphone
from service.capture.picture import turned
from service.capture.watch import watched

log = logging.getLogger(__name__)

_STAMP_TOLERANCE = 1.0  # seconds: a driver's stamp further from now than this is of some other clock
_VGA = 640 * 480  # pixels
_STEP = 1e-3  # seconds, the least distance between frames


class Device(Protocol):
    """Declare the part of `cv2.VideoCapture` that is used."""

    def isOpened(self) -> bool:  # noqa: N802
        """Return whether the camera is open."""

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        """Return whether a picture came, and the picture (h, w, 3) BGR or (h, w) grey."""

    def get(self, prop: int, /) -> float:
        """Return the value of a property, 0 where the driver has none."""

    def set(self, prop: int, value: float, /) -> bool:
        """Ask for the value of a property and return whether the driver took it."""

    def release(self) -> None:
        """Close the camera."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Hold what the user asked of a camera; the driver gives the nearest that it can."""

    size: tuple[int, int] | None = None  # width, height in pixels
    fps: float | None = None  # frames/s

    @property
    def anything(self) -> bool:
        """Return whether anything was asked for."""
        return self.size is not None or self.fps is not None

    def request(self, device: Device) -> None:
        """Ask `device` for it.

        Above VGA the pictures are asked for as MJPEG, because uncompressed ones of that size do not fit through USB 2
        at more than a few frames a second.
        """
        if self.size is not None and self.size[0] * self.size[1] > _VGA:
            device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        if self.size is not None:
            device.set(cv2.CAP_PROP_FRAME_WIDTH, self.size[0])
            device.set(cv2.CAP_PROP_FRAME_HEIGHT, self.size[1])
        if self.fps is not None:
            device.set(cv2.CAP_PROP_FPS, self.fps)

    def given(self, device: Device, width: int, height: int) -> str:
        """Return in words what the driver gives, and what was asked for where that is something else."""
        rate = device.get(cv2.CAP_PROP_FPS)
        text = f"{width}x{height}" + (f" at {rate:.4g} frames/s" if rate > 0 else "")
        missed = []
        if self.size is not None and self.size != (width, height):
            missed.append(f"{self.size[0]}x{self.size[1]}")
        if self.fps is not None and abs(rate - self.fps) > 0.01 * self.fps:
            missed.append(f"{self.fps:g} frames/s")
        return text + (f" (asked for {' at '.join(missed)}, which the driver does not give)" if missed else "")


class CameraSource:
    """Film with camera number `index`, and wait for it while it is unplugged."""

    def __init__(
        self,
        index: int,
        label: str,
        *,
        audio: bool | None = None,
        wanted: Wanted | None = None,
        rotate: int = 0,
        open_device: Callable[[int], Device] | None = None,
        stall: float = 2.0,
    ) -> None:
        """Open nothing yet. `audio`: use the microphone; None uses it if there is one. `rotate`: degrees clockwise.

        Raises `UserError` if the camera is missing or may not be used, or `audio` is wanted and cannot be had.
        """
        self.label = label
        self._index = index
        self._audio = audio
        self._wanted = wanted or Wanted()
        self._rotate = rotate
        self._open = open_device or _open_device
        self._stall = stall
        if open_device is None:
            _check_device(index)
        if audio:
            with Microphone(0.0):  # opened only so that a missing microphone raises `UserError` now
                pass

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Yield frames and sound while the camera is plugged in, and again when it comes back; see `Source.read`."""
        return watched(self._produce, stop, self._stall, self.label)

    def _produce(self, give: Callable[[Item], bool], gone: threading.Event) -> None:
        origin = time.monotonic()
        backoff = Backoff()
        give(StateChange(State.CONNECTING, f"Opening {self.label}"))
        with contextlib.ExitStack() as resources:
            microphone, hearing = self._microphone(origin, resources)
            ever_live = False
            while not gone.is_set():
                device = self._open(self._index)
                self._wanted.request(device)
                began = time.monotonic()
                try:
                    seen = self._film(device, microphone, hearing, origin, give, gone)
                finally:
                    device.release()
                if gone.is_set():
                    return
                if not seen and not ever_live:
                    give(
                        StateChange(
                            State.FAILED, f"{self.label} gives no picture; another program may be using the camera."
                        )
                    )
                    return
                if seen:
                    ever_live = True
                    backoff.lasted(time.monotonic() - began)
                    give(StateChange(State.RECONNECTING, f"{self.label} stopped giving pictures; is it plugged in?"))
                metrics.RECONNECTS.labels("source").inc()
                gone.wait(backoff.next())

    def _microphone(self, origin: float, resources: contextlib.ExitStack) -> tuple[Microphone | None, str]:
        if self._audio is False:
            return None, "without sound"
        try:
            microphone = resources.enter_context(Microphone(origin))
        except UserError as error:
            log.warning("source %s is read without sound: %s", self.label, error)
            return None, f"without sound: {error}"
        return microphone, f"sound from {microphone.name}"

    def _film(
        self,
        device: Device,
        microphone: Microphone | None,
        hearing: str,
        origin: float,
        give: Callable[[Item], bool],
        gone: threading.Event,
    ) -> bool:
        """Give frames until the device gives none or `give` says so; return whether there was any."""
        last = -1.0
        while not gone.is_set() and device.isOpened():
            came, image = device.read()
            now, entered, captured_at = time.monotonic(), time.perf_counter(), time.time()
            if not came or image is None:
                break
            stamp = device.get(cv2.CAP_PROP_POS_MSEC) / 1000  # V4L2: when the driver got the picture, monotonic
            t = max((stamp if 0 <= now - stamp < _STAMP_TOLERANCE else now) - origin, 0.0, last + _STEP)
            if last < 0:
                height, width = image.shape[:2]
                given = self._wanted.given(device, width, height) if self._wanted.anything else f"{width}x{height}"
                rotated = f"; turned by {self._rotate} degrees as asked" if self._rotate else ""
                give(StateChange(State.LIVE, f"{given}, {hearing}{rotated}"))
            last = t
            for sound in microphone.take() if microphone is not None else ():
                give(sound)
            rgb = _rgb(image)
            if not give(Frame(turned(rgb, self._rotate) if self._rotate else rgb, t, entered, captured_at)):
                break
        return last >= 0


def _rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (h, w, 3) RGB of a camera's BGR (h, w, 3) or grey (h, w)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB), np.uint8)


def _open_device(index: int) -> Device:
    device = cv2.VideoCapture(index)
    device.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not one that waited in the driver
    return cast(Device, device)


def _check_device(index: int) -> None:
    """Raise `UserError` where Linux shows that the camera is missing or forbidden; do nothing on other systems."""
    if not sys.platform.startswith("linux"):
        return
    path = Path(f"/dev/video{index}")
    if not path.exists():
        there = sorted(int(name.name[5:]) for name in Path("/dev").glob("video[0-9]*") if name.name[5:].isdigit())
        cameras = ", ".join(f"camera:{number}" for number in there)
        raise UserError(
            f"There is no camera {index} on this machine ({path} is missing); "
            + (f"there is {cameras}." if cameras else "none is plugged in. demo: shows a moving portrait without one.")
        )
    try:
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise UserError(
            f"{path} may not be read by this user; `sudo usermod -aG video $USER` and a new login allow it."
        ) from error
    except OSError:
        return  # busy or another error, for which opening the camera gives a better message
