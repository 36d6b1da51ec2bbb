"""The CPU that each signal of an event costs for a face and picture: eyes, head gestures, speech, gaze, baseline."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from service.aggregation.baseline import Baseline
from service.aggregation.eyes import Eyes
from service.aggregation.head_gestures import HeadGestures
from service.aggregation.speaking import Mouth, speaking
from service.capture.media import Frame
from service.perception.face import Face
from service.perception.gaze_reader import GazeReader
from service.perception.networks import Networks
from service.perception.perceive import Perception
from service.perception.speech import AudioStatus

REPEATS = 5  # of all pictures; the first warms up and is not counted
NEUTRAL = 0.8  # probability with which each picture counts for the baseline
HEARD = AudioStatus("speech", 0, -20.0, 3.0)

Step = Callable[[float, Face], object]


def measure(networks: Networks, frames: Iterable[Frame]) -> list[dict[str, Any]]:
    """Return rows of `what`, `value`, `unit` and `goal`: microseconds of CPU for a face and picture of each signal.

    The faces are those that perception finds in `frames`; none of what is timed runs in another thread.
    """
    perception = Perception(networks)
    faces = [(frame.t, face) for frame in frames for face in perception(frame)[:1]]
    signals: dict[str, Callable[[], Step]] = {
        "eyes and blinks": _eyes,
        "nods and shakes": _head,
        "who speaks": _mouth,
        "neutral baseline": _baseline,
        "gaze, a reading": _gaze,
    }
    return [
        {"what": f"signal: {name}", "value": round(_cost(make, faces), 1), "unit": "µs of CPU a face", "goal": ""}
        for name, make in signals.items()
    ]


def _cost(make: Callable[[], Step], faces: Sequence[tuple[float, Face]]) -> float:
    """Return the microseconds of CPU that one step takes on average; each repetition begins with a new track."""
    spent = 0.0
    for repeat in range(REPEATS):
        step = make()
        started = time.thread_time()
        for t, face in faces:
            step(t, face)
        if repeat:
            spent += time.thread_time() - started
    return spent / max(1, len(faces) * (REPEATS - 1)) * 1e6


def _eyes() -> Step:
    eyes = Eyes()
    return lambda t, face: eyes.update(t, face, [])


def _head() -> Step:
    head = HeadGestures()
    return lambda t, face: head.update(t, face, [])


def _mouth() -> Step:
    mouth = Mouth()

    def step(t: float, face: Face) -> None:
        mouth.update(t, face, [])
        speaking({face.track: mouth}, HEARD)

    return step


def _baseline() -> Step:
    baseline = Baseline()

    def step(t: float, face: Face) -> None:
        baseline.push(t, 0.1, 0.1, NEUTRAL)
        baseline.entry()

    return step


def _gaze() -> Step:
    read = GazeReader()
    return lambda t, face: read(face)
