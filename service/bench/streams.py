"""`affectstream bench streams`: the cost of a frame by the number of sessions and faces and the picture's height.

The service's own sessions read the demo's portrait in one process for each core, as `serve` has them: pictures without
compression, and in the series `video` H.264, whose decoding then is a part of the cost. The CPU time of these processes
is measured, which other work on the machine disturbs little. All settings alternate, and each row has its ratio to the
first of its kind.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines import weights
from engines.cores import usable_cores
from service.bench import machine
from service.bench.clip import write_demo
from service.bench.live import PACKAGES
from service.capture.demo import RATE, demo_picture, demo_voice
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.open import open_source
from service.capture.pace import Pace
from service.events import Event
from service.runtime import Runtime, RuntimeOptions, load_runtime
from service.session import Session
from service.settings import DEFAULT_MODEL

SESSIONS = (1, 2, 4, 8)
FACES = (1, 4, 16)
HEIGHTS = (360, 720, 1080)  # pixels
VIDEO_HEIGHTS = (360, 720, 1080, 2160)  # pixels
VIDEO_SECONDS = 3  # of each film, which is played again and again
CROWD_HEIGHT = 720  # pixels, of the pictures with several faces; smaller ones would be too small to find
WARM_UP = 1.5  # s of each run that are not measured
SECONDS = 4.0  # s measured in each round
FEWEST = 10  # frames of each session in a round
PATIENCE = 60.0  # s after which a run ends with fewer frames
ROUNDS = 2
_PICTURES = 16  # rendered before the run, and shown forwards and backwards
_ASPECT = 16 / 9


@dataclass
class _Setting:
    """Hold one setting, the numbers of sessions and faces and the height in pixels, and what was measured of it.

    `video` is the file that is read; None for pictures without compression.
    """

    sessions: int
    faces: int
    height: int
    video: Path | None = None
    frames: int = 0
    cpu: float = 0.0  # s
    seconds: float = 0.0  # measured
    found: int = 0  # faces, over all frames
    rates: list[float] = field(default_factory=list)  # events/s of the slowest session, by round
    latencies: list[float] = field(default_factory=list)  # ms, of each frame


class _Crowd:
    """Give rendered pictures at the demo's rate, with its sound; a `Source`."""

    label = "bench"

    def __init__(self, pictures: list[NDArray[np.uint8]]) -> None:
        self._pictures = [*pictures, *pictures[-2:0:-1]]

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Yield frames and sound in real time until `stop` is set."""
        yield StateChange(State.LIVE)
        voice, step, pace, number = demo_voice(), SAMPLE_RATE // RATE, Pace(realtime=True), 0
        while pace.wait(number / RATE, stop):
            at = number * step % len(voice)
            yield Sound(voice[at : at + step], number / RATE)
            image = self._pictures[number % len(self._pictures)]
            yield Frame(image, number / RATE, time.perf_counter(), time.time())
            number += 1


class _Counter:
    """Count the events of a run, and keep their latencies, while `on` is true."""

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
    """Return the report on each setting of `model`, or of the default one. Raise `UserError` as `load_runtime` does."""
    before = machine.facts(PACKAGES)
    with ExitStack() as stack:
        films = _films(Path(stack.enter_context(TemporaryDirectory(prefix="affectstream-bench-"))))
        series: dict[str, list[tuple[int, int, int, Path | None]]] = {
            "sessions": [(count, 1, HEIGHTS[0], None) for count in SESSIONS],
            "faces": [(1, count, CROWD_HEIGHT, None) for count in FACES],
            "height": [(1, 1, height, None) for height in HEIGHTS],
            "video": [(1, 1, height, film) for height, film in films.items()],
        }
        settings = {key: _Setting(*key) for keys in series.values() for key in keys}
        cores = usable_cores()
        workers = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in cores]
        # One after the other, because the first may have to fetch weights.
        facts = [worker.submit(_begin, core, model).result() for worker, core in zip(workers, cores, strict=True)]
        for _ in tqdm(range(rounds), desc="streams", unit="round", disable=None):
            for setting in settings.values():
                _round(workers, setting, seconds, WARM_UP)
    raw = settings[series["sessions"][0]]
    rows = [
        {"series": name, **_row(settings[key], settings[keys[0]] if name == "video" else raw)}
        for name, keys in series.items()
        for key in keys
    ]
    return {"machine": before | {"load after": machine.facts(())["load"]}, "model": facts[0], "rows": rows}


def _films(folder: Path) -> dict[int, Path]:
    """Write the demo in each of `VIDEO_HEIGHTS` into `folder`, and return the files by height."""
    films = {height: folder / f"{height}.mp4" for height in VIDEO_HEIGHTS}
    for height, path in films.items():
        for _ in write_demo(path, seconds=VIDEO_SECONDS, size=(round(height * _ASPECT), height)):
            pass
    return films


def _round(workers: list[ProcessPoolExecutor], setting: _Setting, seconds: float, warm_up: float) -> None:
    """Divide the setting's sessions among the processes and add up what each measured."""
    shares = [setting.sessions // len(workers) + (n < setting.sessions % len(workers)) for n in range(len(workers))]
    running = [
        worker.submit(_run, share, setting, seconds, warm_up)
        for worker, share in zip(workers, shares, strict=True)
        if share
    ]
    found = [one.result() for one in running]
    setting.frames += sum(one.frames for one in found)
    setting.found += sum(one.found for one in found)
    setting.cpu += sum(one.cpu for one in found)
    setting.seconds += max(one.seconds for one in found)
    setting.latencies += [latency for one in found for latency in one.latencies]
    setting.rates.append(min(one.rates[0] for one in found))


def _row(setting: _Setting, first: _Setting) -> dict[str, Any]:
    """Return the row of a setting."""
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


_runtime: Runtime  # of this process, once it is a worker


def _begin(core: int, model: str | None) -> dict[str, Any]:
    """Load the model in this process, on that core alone, and return the facts about it. Raise `UserError`."""
    global _runtime
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    _runtime = load_runtime(RuntimeOptions(model=model or DEFAULT_MODEL, untrained=True))
    atexit.register(_runtime.close)
    return dict(_runtime.info)


def _run(sessions: int, setting: _Setting, seconds: float, warm_up: float) -> _Setting:
    """Run so many sessions of the setting in this process and return what was measured."""
    pictures = crowd(setting.faces, setting.height) if setting.video is None else []
    counter = _Counter()
    names = [f"bench-{n}" for n in range(sessions)]
    running = [
        Session(
            _Crowd(pictures) if setting.video is None else open_source(f"file:{setting.video}?loop=1"),
            _runtime.pipeline(name, live=True),
            counter,
        )
        for name in names
    ]
    try:
        _wait(lambda: len(counter.seen) == len(names), warm_up)
        counter.on, cpu, begin = True, time.process_time(), time.perf_counter()
        _wait(lambda: min(counter.frames.get(name, 0) for name in names) >= FEWEST, seconds)
        counter.on, cpu, spent = False, time.process_time() - cpu, time.perf_counter() - begin
    finally:
        for session in running:
            session.close()
    rate = min(counter.frames.get(name, 0) for name in names) / spent
    frames = sum(counter.frames.values())
    return replace(
        setting,
        sessions=sessions,
        frames=frames,
        cpu=cpu,
        seconds=spent,
        found=counter.found,
        rates=[rate],
        latencies=counter.latencies,
    )


def _wait(enough: Callable[[], bool], seconds: float) -> None:
    """Wait for `seconds`, and longer, up to `PATIENCE`, while `enough` is false because the machine is busy."""
    begin = time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds or (not enough() and spent < PATIENCE):
        time.sleep(min(0.05, seconds))


def crowd(faces: int, height: int) -> list[NDArray[np.uint8]]:
    """Return pictures of that height in 16:9 with so many portraits in a square grid, each moving on its own."""
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
