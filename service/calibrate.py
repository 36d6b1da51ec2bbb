"""Real inputs of a model, recorded from the pipeline that serves, for calibrating and comparing engines."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.load import LoadedEngine, Probe
from models.errors import UserError
from models.registry import served
from models.voice_mt.baseline import ROWS
from models.voice_mt.functionals import NAMES as FUNCTIONALS
from service.adapters import voice
from service.adapters.options import ModelOptions
from service.adapters.registry import make_adapter
from service.capture.media import Frame, Sound, StateChange
from service.capture.open import open_source
from service.perception.networks import Networks
from service.perception.perceive import Perception
from service.pipeline import Pipeline
from service.settings import DEFAULT_MODEL

SAMPLES = 48  # rows that are recorded from the demo where no number is given
START_SAMPLES = 16  # rows that a reduced precision is compared on when a machine first has it
FROM_VIDEOS = 300  # samples at most; a minute of them
PERIOD = 0.2  # s between two samples of a source
_LONGEST = 60.0  # s of a source that are read for its share of the samples


@dataclass(frozen=True, slots=True)
class _Variation:
    """Change frames, so that one portrait gives several different faces.

    Attributes:
        mirrored: Whether left and right are exchanged.
        gain: Factor of the light.
        blur: Standard deviation of a Gaussian blur in pixels.
    """

    mirrored: bool = False
    gain: float = 1.0
    blur: float = 0.0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.mirrored:
            image = image[:, ::-1]
        if self.blur:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self.blur), np.uint8)
        if self.gain != 1.0:
            image = np.asarray(cv2.convertScaleAbs(image, alpha=self.gain), np.uint8)
        return np.ascontiguousarray(image)


_PLAIN = _Variation()
_DEMO = (_PLAIN, _Variation(mirrored=True, gain=0.5), _Variation(gain=1.25, blur=2.0))


def probe_of(model: str, videos: Sequence[Path] = (), samples: int | None = None) -> Probe | None:
    """Return a function that records inputs of `model`, or None to use those of `engines.probe`.

    The default model without videos has no such function, because `engines.probe` has more faces for it than the demo.
    A model without an adapter has none either, because inputs are recorded from the adapter. When called, the function
    raises `UserError` for a video that cannot be read or in which there is no face.

    Args:
        model: Name of the model.
        videos: Files with faces; without any, the demo is read in several lights.
        samples: Rows to record; None for `SAMPLES`, or `FROM_VIDEOS` from videos.
    """
    if model == voice.MODEL:
        rng = np.random.default_rng(0)
        rows = rng.normal(0, 10, (samples or SAMPLES, ROWS, len(FUNCTIONALS))).astype(np.float32)
        rows[:, 2:] = np.abs(rows[:, 2:])  # variances, and seconds of speech
        return lambda reference: {"voice": rows}
    if model not in served() or (not videos and model == DEFAULT_MODEL):
        return None
    chosen = [(f"file:{video}", _PLAIN) for video in videos] or [("demo:", variation) for variation in _DEMO]
    samples = samples or (FROM_VIDEOS if videos else SAMPLES)

    def probe(reference: LoadedEngine) -> Arrays:
        networks = Networks()
        share = -(-samples // len(chosen))
        rows = [row for source, how in chosen for row in _recorded(model, reference, networks, source, how, share)]
        return {name: np.concatenate([row[name] for row in rows[:samples]]) for name in rows[0]}

    return probe


def _recorded(
    model: str, reference: LoadedEngine, networks: Networks, source: str, variation: _Variation, count: int
) -> Iterator[Arrays]:
    """Yield up to `count` inputs of one row each; a frame gives one for each of its faces."""
    taken: list[Arrays] = []
    newest = -PERIOD  # s

    def infer(inputs: Arrays) -> tuple[Arrays, float]:
        nonlocal newest
        if frame.t >= newest + PERIOD - 1e-6:
            newest = frame.t
            taken.append(inputs)
        return reference.engine(inputs), 0.0

    adapter = make_adapter(model, reference, ModelOptions(rate=1 / PERIOD, sound_rate=1 / PERIOD))
    pipeline = Pipeline("calibration", Perception(networks), adapter, infer, lambda: {})
    stop = threading.Event()
    for item in open_source(source, realtime=False).read(stop):
        match item:
            case Sound():
                pipeline.sound(item)
            case StateChange():
                pipeline.state(item)
            case Frame():
                frame = replace(item, image=variation(item.image))
                pipeline.frame(frame)
                if len(taken) >= count or frame.t > _LONGEST:
                    stop.set()
    if not taken:
        raise UserError(f"There is no face in the first {_LONGEST:g} s of {source}; give a video with one.")
    each = ({name: values[i : i + 1] for name, values in inputs.items()} for inputs in taken for i in _rows(inputs))
    yield from islice(each, count)


def _rows(inputs: Arrays) -> range:
    return range(len(next(iter(inputs.values()))))
