"""The cost of perception and signals on this machine, and the smallest faces found, on the portrait or a clip."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engines import weights
from service.bench import signals
from service.capture.media import Frame
from service.perception.mesh import MARGIN, roi_from_mesh
from service.perception.networks import Networks
from service.perception.perceive import Perception, perceive_still

SIZES = (30, 35, 40, 45, 50, 55, 60, 70, 80, 100, 150, 200)  # pixels of a face in a 1280x720 picture
PLACES = 24  # for each size
SEED = 1
PICTURES = ((640, 360), (1280, 720), (1920, 1080))
SECONDS = 5.0  # of video for each cost
FPS = 30
HEAD = (80, 0, 300, 300)  # x, y, width, height of head and shoulders in the portrait

Picture = NDArray[np.uint8]


def measure(clip: Path | None = None) -> list[dict[str, Any]]:
    """Return rows of `what`, `value`, `unit`, `goal`: the cost of a frame and of signals, and the faces that are found.

    The cost is measured by picture size, or on `clip` if there is one.
    """
    networks = Networks()
    portrait = np.asarray(cv2.imread(str(weights.path("portrait")), cv2.IMREAD_COLOR_RGB), np.uint8)
    rows = []
    if clip is not None:
        rows += _cost(networks, clip.name, _decoded(clip))
    else:
        for width, height in PICTURES:
            rows += _cost(networks, f"{width}x{height}, one face", _walk(portrait, width, height))
    frames = _decoded(clip) if clip is not None else _walk(portrait, *PICTURES[0])
    rows += signals.measure(networks, islice(frames, round(SECONDS * FPS)))
    return [*rows, *(_reach(networks, portrait, size) for size in SIZES)]


def _cost(networks: Networks, what: str, frames: Iterator[Frame]) -> list[dict[str, Any]]:
    """Return the rows on the time that perception takes for the frames."""
    perception = Perception(networks)
    spent, cpu = [], []
    for frame in frames:
        started, cpu_started = time.perf_counter(), time.process_time()
        perception(frame)
        spent.append((time.perf_counter() - started) * 1e3)
        cpu.append((time.process_time() - cpu_started) * 1e3)
    steady, steady_cpu = spent[1:], cpu[1:]  # without the first frame, in which faces are searched everywhere
    return [
        _row(f"{what}: CPU a frame", float(np.mean(steady_cpu)), "ms", "< 3.5 at 640x360"),
        _row(f"{what}: p50", float(np.median(steady)), "ms"),
        _row(f"{what}: p95", float(np.percentile(steady, 95)), "ms"),
        _row(f"{what}: first frame", spent[0], "ms"),
    ]


def _reach(networks: Networks, portrait: Picture, size: int) -> dict[str, Any]:
    """Return the row on the share of faces of so many pixels that are found where they are."""
    rng = np.random.default_rng(SEED)
    found = 0
    for _ in range(PLACES):
        x, y = rng.uniform(size, 1280 - size), rng.uniform(size, 720 - 2 * size)
        picture = _scene(portrait, 1280, 720, size, x, y)
        for face in perceive_still(networks, picture):
            roi = roi_from_mesh(face.mesh)
            found += bool(np.hypot(roi.x - x, roi.y - y) < 0.3 * size and 0.6 < roi.side / MARGIN / size < 1.6)
    return _row(f"faces of {size} px found in 1280x720", found / PLACES, "", "1 from 50 px" if size >= 50 else "")


def _scene(portrait: Picture, width: int, height: int, size: float, x: float, y: float) -> Picture:
    """Return a softly lit picture with the portrait's head in it: a face of `size` pixels with its middle at (x, y)."""
    left, top, side, _ = HEAD
    scale = size / 107  # the face in the portrait has 107 px
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    head = cv2.resize(portrait[top : top + side, left : left + side], None, fx=scale, fy=scale, interpolation=shrink)
    across = np.linspace(90, 160, width)[None, :, None] + np.linspace(0, 30, height)[:, None, None]
    picture = np.repeat(across, 3, axis=2).astype(np.uint8)
    x0, y0 = round(x - 146 * scale), round(y - 123 * scale)
    part = picture[max(0, y0) : y0 + head.shape[0], max(0, x0) : x0 + head.shape[1]]
    part[:] = head[max(0, -y0) :, max(0, -x0) :][: part.shape[0], : part.shape[1]]
    return picture


def _walk(portrait: Picture, width: int, height: int) -> Iterator[Frame]:
    """Yield frames of a head that sways for `SECONDS`."""
    for index in range(int(SECONDS * FPS)):
        t = index / FPS
        x = width * (0.5 + 0.1 * np.sin(2 * t))
        yield Frame(_scene(portrait, width, height, height / 3, x, height * 0.45), t)


def _decoded(clip: Path) -> Iterator[Frame]:
    """Yield the first frames of a video."""
    with av.open(str(clip)) as container:
        for picture in islice(container.decode(video=0), 1000):
            yield Frame(np.asarray(picture.to_ndarray(format="rgb24"), np.uint8), float(picture.time or 0.0))


def _row(what: str, value: float, unit: str, goal: str = "") -> dict[str, Any]:
    """Return a row of the report."""
    return {"what": what, "value": round(value, 2), "unit": unit, "goal": goal}
