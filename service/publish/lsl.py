"""Events on Lab Streaming Layer: an outlet of numbers for each face, and an outlet of markers for each session.

liblsl is called in a thread of its own, because opening and closing an outlet takes milliseconds.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

from affectstream import __version__
from models.errors import UserError
from models.labels import ACTION_UNITS, EXPRESSIONS
from service import metrics
from service.events import Event
from service.publish.draining import DRAIN_TIMEOUT, drain
from service.publish.hub import Hub
from service.publish.lsl_clock import LslClock

if TYPE_CHECKING:
    from pylsl import StreamInfo, StreamOutlet

SINK = "lsl"
BATCH = 64  # events that are handed to the thread at once
MOST_FACES = 64  # outlets of faces at once; the one that was used longest ago is closed first
SOURCE = "affectstream"  # what the source ids of all outlets begin with
_READ = ("ok", "warming_up")
_OVER = ("ended", "failed")

# Channels of a face: label and unit. An unknown value is NaN.
CHANNELS: tuple[tuple[str, str], ...] = (
    ("valence", "-1..1"),
    ("arousal", "-1..1"),
    ("valence_std", "-1..1"),
    ("arousal_std", "-1..1"),
    *((name, "probability") for name in EXPRESSIONS),
    *((name, "probability") for name in ACTION_UNITS),
    *((f"{name}_intensity", "0..5") for name in ACTION_UNITS),
    ("pitch", "degrees"),
    ("yaw", "degrees"),
    ("roll", "degrees"),
    ("confidence", "probability"),
)

log = logging.getLogger(__name__)


class LslSink:
    """Push the events of all sessions to outlets until closed. Made and used on the hub's loop."""

    problem = None  # outlets are there whether or not anybody listens

    def __init__(self, hub: Hub) -> None:
        """Begin to push. Raise `UserError` without pylsl or liblsl."""
        pylsl = library("--lsl")
        self._outlets = Outlets(LslClock(pylsl.local_clock))
        self._thread = ThreadPoolExecutor(1, "lsl")
        self._subscription = hub.subscribe(sink=SINK)
        self._task = asyncio.create_task(self._run(), name="lsl")

    async def close(self) -> None:
        """Push what waits, and close the outlets."""
        await drain(self._task, self._subscription, DRAIN_TIMEOUT)
        self._thread.submit(self._outlets.close)
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while events := await self._subscription.take(BATCH):
            try:
                await loop.run_in_executor(self._thread, self._outlets.push, events)
            except RuntimeError as error:  # liblsl refuses, as where no port is left
                metrics.PUBLISH_ERRORS.labels(SINK).inc()
                metrics.EVENTS_DROPPED.labels(SINK).inc(len(events))
                log.warning("Lab Streaming Layer takes no events: %s", error)


class Outlets:
    """Hold the outlets that are open. Used by one thread."""

    def __init__(self, clock: LslClock) -> None:
        self._clock = clock
        self._faces: dict[tuple[str, int], StreamOutlet] = {}  # (session, track) -> outlet, last used last
        self._markers: dict[str, StreamOutlet] = {}
        self._moments: dict[str, tuple[float, float]] = {}  # session -> (its second, LSL's second) of its last picture

    def push(self, events: list[Event]) -> None:
        """Push what `events` hold."""
        for event in events:
            self._push(event.data)

    def close(self) -> None:
        """Close all outlets."""
        self._faces.clear()
        self._markers.clear()

    def _push(self, event: Mapping[str, Any]) -> None:
        session = event["session"]
        if session not in self._markers:
            self._markers[session] = self._open_markers(session)
        if event["captured_at"] is not None:
            at = self._clock.at(datetime.fromisoformat(event["captured_at"]).timestamp())
            self._moments[session] = event["t"], at
            for face in event["faces"]:
                if face["status"] in _READ:
                    self._face(session, face).push_sample(values_of(face), at)
        label = label_of(event)
        if label is not None:
            self._markers[session].push_sample([label], self._time_of(event))
        if event["state"] in _OVER:
            for key in [key for key in self._faces if key[0] == session]:
                del self._faces[key]
            self._markers.pop(session, None)
            self._moments.pop(session, None)

    def _time_of(self, event: Mapping[str, Any]) -> float:
        """Return LSL's time of a marker or of another event's second; 0, which is now, before the first picture."""
        marker = event.get("marker")
        t: float = marker["t"] if marker is not None else event["t"]
        if event["session"] not in self._moments:
            return 0.0
        second, at = self._moments[event["session"]]
        return at + t - second

    def _face(self, session: str, face: Mapping[str, Any]) -> "StreamOutlet":
        key = session, face["track"]
        outlet = self._faces.pop(key, None) or self._open_face(*key)
        self._faces[key] = outlet
        while len(self._faces) > MOST_FACES:
            del self._faces[next(iter(self._faces))]
        return outlet

    def _open_face(self, session: str, track: int) -> "StreamOutlet":
        import pylsl

        name = f"affectstream {session} {track}"
        info = pylsl.StreamInfo(
            name, "Affect", len(CHANNELS), pylsl.IRREGULAR_RATE, pylsl.cf_float32, f"{SOURCE}-{session}-{track}"
        )
        channels = self._describe(info, session).append_child("channels")
        for label, unit in CHANNELS:
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("unit", unit)
            channel.append_child_value("type", "Affect")
        return pylsl.StreamOutlet(info)

    def _open_markers(self, session: str) -> "StreamOutlet":
        import pylsl

        name = f"affectstream {session} markers"
        info = pylsl.StreamInfo(
            name, "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, f"{SOURCE}-{session}-markers"
        )
        self._describe(info, session)
        return pylsl.StreamOutlet(info)

    def _describe(self, info: "StreamInfo", session: str) -> Any:
        description = info.desc()
        description.append_child_value("manufacturer", "Affectstream")
        description.append_child_value("version", __version__)
        description.append_child_value("session", session)
        clock = description.append_child("synchronization")
        clock.append_child_value("time_source", "the decoded frame's entering the process")
        clock.append_child_value("can_drop_samples", "true")
        clock.append_child_value("error_s", f"{self._clock.error:.6f}")
        return description


def values_of(face: Mapping[str, Any]) -> list[float]:
    """Return a face's values in the order of `CHANNELS`; NaN for what is unknown."""
    shares = face["expression"]["probabilities"] if face["expression"] is not None else {}
    intensities = face.get("intensities", {})
    values = [
        face["valence"],
        face["arousal"],
        face["std"]["valence"],
        face["std"]["arousal"],
        *(shares.get(name) for name in EXPRESSIONS),
        *(face["aus"].get(name) for name in ACTION_UNITS),
        *(intensities.get(name) for name in ACTION_UNITS),
        face["head_pose"]["pitch"],
        face["head_pose"]["yaw"],
        face["head_pose"]["roll"],
        face["confidence"],
    ]
    return [math.nan if value is None else float(value) for value in values]


def label_of(event: Mapping[str, Any]) -> str | None:
    """Return what the marker outlet says of an event; None for one of a picture or of sound."""
    if event.get("marker") is not None:
        return str(event["marker"]["label"])
    if event.get("alert") is not None:
        return f"alert {event['alert']['status']}: {event['alert']['rule']}"
    return f"state: {event['state']}" if event.get("detail") is not None else None


def library(option: str) -> Any:
    """Return the module pylsl. Raise `UserError` naming `option` where it or liblsl is not there."""
    try:
        import pylsl
    except ImportError:
        raise UserError(f"{option} needs pylsl; install it: pip install 'affectstream[lsl]'") from None
    except RuntimeError:  # pylsl is there, and found no liblsl
        raise UserError(
            f"{option} needs liblsl, which pylsl does not find; install it from "
            "https://github.com/sccn/liblsl/releases, or set PYLSL_LIB to its file"
        ) from None
    return pylsl
