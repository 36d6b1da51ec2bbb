"""Markers from Lab Streaming Layer: each text of the stream of that name becomes a marker of every open session."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from models.errors import UserError
from service import metrics
from service.events import MARKER_LENGTH
from service.publish.lsl import SOURCE, library
from service.publish.lsl_clock import measure

SINK = "lsl_markers"  # what refused markers are counted by
LOOK_FOR = 1.0  # s that one look for the stream takes
WAIT = 0.25  # s that the thread waits for a marker before it looks whether it is to stop

Mark = Callable[[str, datetime], object]  # label and wall clock; raises `UserError` for what is refused

log = logging.getLogger(__name__)


class LslMarkers:
    """Read the stream of that name in a thread of its own, from construction until `close`."""

    problem = None  # a stream of markers that is not there yet keeps nothing from working

    def __init__(self, name: str, mark: Mark) -> None:
        """Call `mark` with each text. Raise `UserError` without pylsl or liblsl."""
        self._pylsl = library("--lsl-markers")
        self._name = name
        self._mark = mark
        self._refusing = False  # the newest marker was refused
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lsl-markers", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stop reading; the thread ends within a look for the stream."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                found = self._pylsl.resolve_byprop("name", self._name, 1, LOOK_FOR)
                streams = [info for info in found if self._usable(info)]
                if streams:
                    self._read(streams[0])
                else:  # none, or none that can be used, which is found at once
                    self._stop.wait(LOOK_FOR)
            except (RuntimeError, TimeoutError) as error:  # liblsl's, as of a stream that has gone
                log.warning("the marker stream is lost (%s); looking for it again", error)
                self._stop.wait(LOOK_FOR)

    def _usable(self, info: Any) -> bool:
        own = info.source_id().startswith(f"{SOURCE}-")  # else our own markers would come back without end
        return not own and info.channel_format() == self._pylsl.cf_string

    def _read(self, info: Any) -> None:
        inlet = self._pylsl.StreamInlet(info, max_buflen=30, recover=False)
        log.info("reading markers from a Lab Streaming Layer stream")
        try:
            while not self._stop.is_set():
                sample, stamp = inlet.pull_sample(timeout=WAIT)
                if sample is not None:
                    self._take(str(sample[0]), stamp + inlet.time_correction(timeout=1.0))
        finally:
            inlet.close_stream()

    def _take(self, text: str, stamp: float) -> None:
        """Mark what happened at `stamp` of LSL's clock here."""
        at = stamp - measure(self._pylsl.local_clock).seconds
        label = "".join(letter if letter.isprintable() else " " for letter in text)[:MARKER_LENGTH]
        try:
            with contextlib.suppress(OverflowError, OSError, ValueError):  # a stamp that is no time: refused as outside
                self._mark(label, datetime.fromtimestamp(min(at, time.time()), UTC))
            self._refusing = False
        except UserError as error:
            metrics.PUBLISH_ERRORS.labels(SINK).inc()
            if not self._refusing:
                log.warning("markers from Lab Streaming Layer are refused and counted: %s", error)
            self._refusing = True
