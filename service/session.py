"""One live stream: a thread that takes the newest frame from the inbox, runs the pipeline and publishes its events."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from service import metrics
from service.capture.inbox import Arrival, Inbox
from service.capture.media import Frame, State, StateChange
from service.capture.reader import SourceReader
from service.capture.source import Source
from service.events import Event
from service.figures import Figures, Latency
from service.history import SessionHistory
from service.pipeline import Pipeline

log = logging.getLogger(__name__)

WAIT = 0.25  # s that the thread waits for a frame before it looks whether it is to stop
FIGURES_OVER = 300  # events over which the latency percentiles are taken
RATE_OVER = 5.0  # s over which the rate is taken


@dataclass(frozen=True, slots=True)
class _Done:
    """When an event of a frame was published, and how long after the frame."""

    at: float  # s, monotonic
    latency: float  # s, from the decoded frame's entering the process


class Session:
    """Run a source through a pipeline in a thread of its own, from construction until the source ends or `close`."""

    def __init__(
        self, source: Source, pipeline: Pipeline, publish: Callable[[Event], None], *, purpose: str | None = None
    ) -> None:
        """Start at once and call `publish` with every event, in the session's thread."""
        self.name = pipeline.name
        self.incarnation = pipeline.incarnation
        self.label = source.label
        self.purpose = purpose
        self.state = State.CONNECTING
        self.detail = ""
        self._pipeline = pipeline
        self._publish = publish
        self._inbox = Inbox()
        self._capture = SourceReader(source, self._inbox)
        self._stop = threading.Event()
        self._baseline_asked = threading.Event()
        self._frame: Frame | None = None
        self._history = SessionHistory()
        self._done: deque[_Done] = deque(maxlen=FIGURES_OVER)
        self._events = 0
        self._reconnects = 0
        self._faces = 0
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"session-{self.name}", daemon=True)
        self._capture.start()
        self._thread.start()

    @property
    def over(self) -> bool:
        """Return whether the session has ended or failed for good."""
        return self.state in (State.ENDED, State.FAILED)

    def close(self, timeout: float = 5.0) -> None:
        """Stop the source and the thread; return within about `timeout` seconds."""
        deadline = time.monotonic() + timeout
        self._stop.set()
        self._capture.stop(timeout)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def wait(self, timeout: float) -> None:
        """Return when the session is over, or after `timeout` seconds. Blocks."""
        self._thread.join(timeout)

    def reset_baseline(self) -> None:
        """Start the neutral baseline anew with the next frame."""
        self._baseline_asked.set()

    def latest_frame(self) -> Frame | None:
        """Return the newest frame that an event was made of, for previews; None before the first."""
        return self._frame

    def history(self, since: float, resolution: int) -> list[list[float | None]]:
        """Return a row for every `resolution` seconds after second `since`; see `service.history`."""
        return self._history.since(since, resolution)

    def figures(self) -> Figures:
        """Return the live figures: rates per second, latencies in milliseconds, counts since the session's start."""
        done = list(self._done)
        now = time.monotonic()
        recent = sum(1 for event in done if now - event.at <= RATE_OVER)
        since = done[0].at if len(done) == FIGURES_OVER else self._started  # a fast camera fills the list sooner
        age = min(RATE_OVER, max(now - since, 1e-3))
        latencies = np.array([event.latency for event in done]) * 1e3 if done else None
        p50, p95 = (np.percentile(latencies, [50, 95]).round(1).tolist()) if latencies is not None else (None, None)
        return Figures(
            fps=round(recent / age, 1),
            latency_ms=Latency(p50, p95),
            dropped={
                "newest_wins": self._inbox.dropped_frames,
                "sound_overflow_samples": self._inbox.dropped_samples,
            },
            faces=self._faces,
            events=self._events,
            reconnects=self._reconnects,
            uptime_s=round(now - self._started, 1),
        )

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self.over:
                self._step()
        except Exception as error:
            log.exception("a session ended by an internal error")
            self._change(StateChange(State.FAILED, f"internal error: {type(error).__name__}"))
        finally:
            self._capture.stop(0)
            self._count_faces(0)
            if not self.over:
                self._change(StateChange(State.ENDED, "closed"))

    def _step(self) -> None:
        self._inbox.wait(WAIT)
        with self._pipeline.turn:
            self._work(self._inbox.take(0.0))  # taken when the core is free: by now a newer frame may have come

    def _work(self, arrival: Arrival) -> None:
        if self._baseline_asked.is_set():
            self._baseline_asked.clear()
            self._pipeline.reset_baseline()
        final = [change for change in arrival.states if change.state in (State.ENDED, State.FAILED)]
        for change in arrival.states:
            if change not in final:
                self._change(change)
        for sound in arrival.sounds:
            for event in self._pipeline.sound(sound):
                self._emit(event)
        if arrival.frame is not None:
            self._read(arrival.frame)
        for change in final:  # after the frame and sound that came before the end
            self._change(change)

    def _read(self, frame: Frame) -> None:
        event = self._pipeline.frame(frame)
        latency = time.perf_counter() - frame.entered
        metrics.EVENT_LATENCY.observe(latency)
        self._done.append(_Done(time.monotonic(), latency))
        self._frame = frame
        self._history.add(event, frame.t)
        self._count_faces(len(event.landmarks))
        self._emit(event)

    def _change(self, change: StateChange) -> None:
        self._reconnects += change.state is State.RECONNECTING
        self.state, self.detail = change.state, change.detail
        log.info("a session is %s: %s", change.state, change.detail)
        self._emit(self._pipeline.state(change))

    def _emit(self, event: Event) -> None:
        self._events += 1
        self._publish(event)

    def _count_faces(self, faces: int) -> None:
        metrics.FACES.inc(faces - self._faces)
        self._faces = faces
