"""Scenes that a real camera shows too seldom to wait for, as pictures and events of a session that is driven.

`SCENES` has them by name; `Stage` plays one of them over a server whose sessions the test drives.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from helpers.affect_events import a_face, a_note, an_event
from helpers.bench_page import faces
from helpers.live_server import LiveServer
from numpy.typing import NDArray
from skimage import data

from models.labels import EXPRESSIONS
from service.capture.media import Frame
from service.events import Event

RATE = 12.0  # events and pictures a second
SIZE = (640, 360)  # pixels
BOX = [250.0, 95.0, 140.0, 165.0]  # where the only face is
NOTHING: dict[str, Any] = {
    "valence": None, "arousal": None, "raw": {"valence": None, "arousal": None},
    "std": {"valence": None, "arousal": None}, "from_baseline": {"valence": None, "arousal": None},
    "expression": None, "aus": {}, "intensities": {}, "windows": {"1s": None, "6s": None, "12s": None},
}  # fmt: skip
HAND = (224, 180, 150)  # RGB of a thing before the face
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """What a session shows: its picture, and its event of a number."""

    picture: Image
    event: Callable[[int], Event]


def one_face(hidden: bool = False) -> Image:
    """A picture with one portrait in the middle; `hidden`: a bar before nose and mouth."""
    crop = cv2.resize(data.astronaut()[8:238, 60:470], SIZE, interpolation=cv2.INTER_AREA)
    picture = np.ascontiguousarray(crop)
    if hidden:
        x, y, w, h = (round(value) for value in BOX)
        picture[y + h // 2 : y + h + 20, x - 30 : x + w + 30] = HAND
    return picture


def four_faces() -> Image:
    """The portrait four times, where `bench_page.faces` puts its boxes."""
    picture = np.full((SIZE[1], SIZE[0], 3), 72, np.uint8)
    small = cv2.resize(data.astronaut()[18:238, 136:312], (150, 188), interpolation=cv2.INTER_AREA)
    for n in range(4):
        picture[40:228, 5 + 157 * n : 155 + 157 * n] = small
    return picture


def _one(seq: int, **more: Any) -> dict[str, Any]:
    return faces(seq / RATE)[0] | {"box": BOX} | more


def _unread(reason: str) -> dict[str, Any]:
    return a_face(1, **NOTHING | {"box": BOX, "status": "abstained", "reasons": [reason], "occluded": 0.93})


def _speaking(seq: int) -> dict[str, Any]:
    shares = dict.fromkeys(EXPRESSIONS, 0.0) | {"sadness": 0.7, "neutral": 0.3}
    return {
        "status": "speech", "age_ms": 10, "level_db": -24.0 + 6 * math.sin(seq),
        "voice": {
            "age_ms": 120, "valence": -0.57, "arousal": 0.21, "std": {"valence": 0.3, "arousal": 0.25},
            "expression": {"label": "sadness", "probabilities": shares}, "no_speech": 0.02,
            "baseline": {"speech_s": 12.0, "age_ms": 300}, "fused_into": 1,
            "share": {"valence": 0.2, "arousal": 0.4, "expression": 0.2},
        },
    }  # fmt: skip


def _event(seq: int, *shown: dict[str, Any], **more: Any) -> Event:
    return an_event(seq, *shown, t=round(seq / RATE, 3), **more)


def scenes() -> dict[str, Scene]:
    """Return every scene by its name."""
    alone, covered, several = one_face(), one_face(hidden=True), four_faces()
    empty = np.full((SIZE[1], SIZE[0], 3), 72, np.uint8)
    untrained = {
        "name": "tsav", "weights": "random", "engine": "openvino", "precision": "fp32", "trained": False,
    }  # fmt: skip
    return {
        "voice": Scene(alone, lambda n: _event(n, _one(n), audio=_speaking(n))),
        "occluded": Scene(covered, lambda n: _event(n, _unread("occluded"))),
        "dark": Scene(alone // 6, lambda n: _event(n, _unread("too_dark"))),
        "lost": Scene(empty, lambda n: _event(n, _one(n, status="held", age_ms=900))),
        "nobody": Scene(empty, lambda n: _event(n)),
        "several": Scene(several, lambda n: _event(n, *faces(n / RATE))),
        "untrained": Scene(alone, lambda n: _event(n, _one(n), model=untrained)),
        "stalled": Scene(alone, lambda n: _note(n, "stalled")),
        "source-lost": Scene(alone, lambda n: _note(n, "reconnecting", "rtsp://camera.local does not answer")),
        "failed": Scene(alone, lambda n: _note(n, "failed", "rtsp://camera.local sends no video that can be read")),
    }


def _note(seq: int, state: str, detail: str = "") -> Event:
    return a_note(seq, t=round(seq / RATE, 3), state=state, reasons=[], detail=detail)


class Stage:
    """Plays one scene after the other in the session `desk` of a server."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._scenes = scenes()
        self._scene = self._scenes["voice"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="stage")

    def show(self, name: str) -> None:
        """Play the scene of that name from now on."""
        self._scene = self._scenes[name]

    @contextmanager
    def playing(self) -> Iterator["Stage"]:
        """Play until the block ends."""
        self._server.open()
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()

    def _play(self) -> None:
        session = self._server.sessions.get("desk")
        began = time.monotonic()
        seq = 0
        while not self._stop.wait(max(0.0, began + seq / RATE - time.monotonic())):
            session.frame = Frame(self._scene.picture, seq / RATE)
            self._server.live.hub.publish(self._scene.event(seq))
            seq += 1
