"""`affectstream bench streams`: how a frame's cost grows with sessions, with faces and with the picture's size.

Sessions of the service itself, in this process, on the demo's portrait; what is counted is the process's CPU time,
which other work on the machine disturbs little. All settings take turns, and each is given as a ratio to the first.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines import machine, weights
from service.bench import PACKAGES
from service.capture.demo import RATE, demo_picture, demo_voice
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.pace import Pace
from service.events import Event
from service.runtime import Runtime, load_runtime
from service.session import Session

SESSIONS = (1, 2, 4, 8)
FACES = (1, 4, 16)
HEIGHTS = (360, 720, 1080)  # pixels
CROWD_HEIGHT = 720  # pixels, of the pictures with several faces; smaller ones would be too small to find
WARM_UP = 1.5  # s of each run that are not measured
SECONDS = 4.0  # s measured in each round
FEWEST = 10  # frames of each session in a round
PATIENCE = 60.0  # s, after which a run goes on without
ROUNDS = 2
_PICTURES = 16  # rendered before, shown forwards and backwards
_ASPECT = 16 / 9


@dataclass
class _Setting:
    """One row: how many sessions, of pictures with how many faces and of what height; and what was measured."""

    sessions: int
    faces: int
    height: int
    frames: int = 0
    cpu: float = 0.0  # s
    seconds: float = 0.0  # measured
    found: int = 0  # faces, over all frames
    rates: list[float] = field(default_factory=list)  # events/s of the slowest session, by round
    latencies: list[float] = field(default_factory=list)  # ms, of each frame


class _Crowd:
    """Pictures that were rendered before, at the demo's rate, with its sound."""

    label = "bench"

    def __init__(self, pictures: list[NDArray[np.uint8]]) -> None:
        self._pictures = [*pictures, *pictures[-2:0:-1]]

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """See `Source.read`."""
        yield StateChange(State.LIVE)
        voice, step, pace, number = demo_voice(), SAMPLE_RATE // RATE, Pace(realtime=True), 0
        while pace.wait(number / RATE, stop):
            at = number * step % len(voice)
            yield Sound(voice[at : at + step], number / RATE)
            image = self._pictures[number % len(self._pictures)]
            yield Frame(image, number / RATE, time.perf_counter(), time.time())
            number += 1


class _Counter:
    """Takes the events of a run."""

    def __init__(self) -> None:
        self.seen: set[str] = set()  # sessions in which there was a face
        self.frames: dict[str, int] = {}
        self.found = 0
        self.latencies: list[float] = []
        self.on = False

    def __call__(self, event: Event) -> None:
        if event.landmarks:
            self.seen.add(event.session)
        if self.on and event.data["timing_ms"] is not None:
            self.frames[event.session] = self.frames.get(event.session, 0) + 1
            self.found += len(event.landmarks)
            self.latencies.append(event.data["timing_ms"]["total"])


def streams(model: str | None = None, *, seconds: float = SECONDS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Rows for each setting of the default model, or of `model`. Raises `UserError` as `load_runtime` does."""
    before = machine.facts(PACKAGES)
    runtime = load_runtime(model, untrained=True)
    series = {
        "sessions": [(count, 1, HEIGHTS[0]) for count in SESSIONS],
        "faces": [(1, count, CROWD_HEIGHT) for count in FACES],
        "height": [(1, 1, height) for height in HEIGHTS],
    }
    settings = {key: _Setting(*key) for keys in series.values() for key in keys}
    try:
        for _ in tqdm(range(rounds), desc="streams", unit="round", disable=None):
            for setting in settings.values():
                _run(runtime, setting, seconds)
    finally:
        runtime.close()
    first = next(iter(settings.values()))
    rows = [{"series": name, **_row(settings[key], first)} for name, keys in series.items() for key in keys]
    return {"machine": before | {"load after": machine.facts(())["load"]}, "model": dict(runtime.info), "rows": rows}


def _row(setting: _Setting, first: _Setting) -> dict[str, Any]:
    each, of_first = (1e3 * s.cpu / max(s.frames, 1) for s in (setting, first))
    return {
        "sessions": setting.sessions,
        "faces": setting.faces,
        "height": setting.height,
        "cpu_ms_per_frame": round(each, 2),
        "ratio": round(each / of_first, 2),
        "percent_of_a_core": round(100 * setting.cpu / setting.seconds, 1),
        "slowest_events_per_s": round(min(setting.rates), 1),
        "p95_ms": round(float(np.percentile(setting.latencies or [np.nan], 95)), 1),
        "faces_found": round(setting.found / max(setting.frames, 1), 2),
    }


def _run(runtime: Runtime, setting: _Setting, seconds: float) -> None:
    pictures = crowd(setting.faces, setting.height)
    counter = _Counter()
    names = [f"bench-{n}" for n in range(setting.sessions)]
    sessions = [Session(_Crowd(pictures), runtime.pipeline(name, live=True), counter) for name in names]
    try:
        _wait(lambda: len(counter.seen) == len(names), WARM_UP)
        counter.on, cpu, begin = True, time.process_time(), time.perf_counter()
        _wait(lambda: min(counter.frames.get(name, 0) for name in names) >= FEWEST, seconds)
        counter.on, cpu, spent = False, time.process_time() - cpu, time.perf_counter() - begin
    finally:
        for session in sessions:
            session.close()
    setting.frames += sum(counter.frames.values())
    setting.found += counter.found
    setting.cpu += cpu
    setting.seconds += spent
    setting.latencies += counter.latencies
    setting.rates.append(min(counter.frames.get(name, 0) for name in names) / spent)


def _wait(enough: Callable[[], bool], seconds: float) -> None:
    """For `seconds`, and longer where the machine is so busy that there is not enough by then."""
    begin = time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds or (not enough() and spent < PATIENCE):
        time.sleep(min(0.05, seconds))


def crowd(faces: int, height: int) -> list[NDArray[np.uint8]]:
    """Pictures of that height in 16:9 with the demo's portrait in a square grid, each moving in its own time."""
    portrait = cv2.imread(str(weights.path("portrait")), cv2.IMREAD_COLOR_RGB)
    assert portrait is not None
    side = round(faces**0.5)
    width, tile = round(height * _ASPECT), (round(height * _ASPECT) // side, height // side)
    pictures = []
    for number in range(_PICTURES):
        picture = np.zeros((height, width, 3), np.uint8)
        for index in range(faces):
            x, y = index % side * tile[0], index // side * tile[1]
            shown = demo_picture(np.asarray(portrait, np.uint8), number + 41 * index)
            picture[y : y + tile[1], x : x + tile[0]] = cv2.resize(shown, tile, interpolation=cv2.INTER_AREA)
        pictures.append(picture)
    return pictures
