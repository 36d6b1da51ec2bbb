"""One live stream: a thread that takes the newest frame from the inbox, runs the pipeline and publishes its events."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from service import audit, metrics, tracing
from service.capture.inbox import Arrival, Inbox
from service.capture.media import Frame, State, StateChange
from service.capture.reader import SourceReader
from service.capture.source import Source
from service.events import Event
from service.history import Note, Past, SessionHistory
from service.logs import SESSION
from service.markers import Markers
from service.neutral import ASKED, NeutralStep
from service.pipeline import Pipeline
from service.purpose import name_of
from service.register import SessionOver
from service.rules import Rule, Rules, RuleState, parse_rules
from service.session_figures import Latency, SessionFigures
from service.session_options import SessionOptions

log = logging.getLogger(__name__)

WAIT = 0.25  # s that the thread waits for a frame before it looks whether it is to stop
FIGURES_OVER = 300  # events over which the latency percentiles are taken
RATE_OVER = 5.0  # s over which the rate is taken


@dataclass(frozen=True, slots=True)
class _Done:
    """Hold when an event of a frame was published, and how long after the frame."""

    at: float  # s, monotonic
    latency: float  # s, from the decoded frame's entering the process


class Session:
    """Run a source through a pipeline in a thread of its own, from construction until the source ends or `close`."""

    foreign = False
    node = None  # only the front process knows the name of the node

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        publish: Callable[[Event], None],
        *,
        purpose: str | None = None,
        rules: Sequence[Rule] = (),
        options: SessionOptions | None = None,
        ended: Callable[[], None] = lambda: None,
        earlier: Sequence[Note] = (),
    ) -> None:
        """Start at once and call `publish` with every event, and the alerts of `rules`, in the session's thread.

        `purpose` is one that `service.purpose.decide` gave; events have its name. `options` are those that the pipeline
        was made with, and `ended` is called when nothing uses the pipeline any more. `earlier` are markers and alerts
        of earlier incarnations, for the history.
        """
        self.name = pipeline.name
        self.incarnation = pipeline.incarnation
        self.label = source.label
        self.purpose = purpose
        self.options = options or SessionOptions()
        self._ended = ended
        pipeline.purpose = None if purpose is None else name_of(purpose)
        self.state = State.CONNECTING
        self.detail = ""
        self._pipeline = pipeline
        self._publish = publish
        self._inbox = Inbox()
        self._capture = SourceReader(source, self._inbox, self.name)
        self._stop = threading.Event()
        self._baseline_asked = threading.Event()
        self._neutral_asked = threading.Event()
        self._frame: Frame | None = None
        self._history = SessionHistory(earlier)
        self._markers = Markers(self.name)
        self._rules = Rules(rules, (note.fields for note in earlier if note.kind == "alert"))
        self._warned: set[Rule] = set()  # rules that can never hold
        self._done: deque[_Done] = deque(maxlen=FIGURES_OVER)
        self._events = 0
        self._reconnects = 0
        self._faces = 0
        self._started = time.monotonic()
        self._trace, self._begun = tracing.current(), time.time()  # of the request that opened it
        self._thread = threading.Thread(target=self._run, name=f"session-{self.name}", daemon=True)
        audit.write("start", self.name, source=audit.kind_of(self.label), purpose=pipeline.purpose)
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

    def begin_neutral_step(self) -> NeutralStep:
        """Begin the neutral step with the next frame, and return it; one that runs begins anew.

        Raise `SessionOver` once the session has ended.
        """
        self._check_open("reads nobody any more")
        self._neutral_asked.set()
        return ASKED

    def latest_frame(self) -> Frame | None:
        """Return the newest frame that an event was made of, for previews; None before the first."""
        return self._frame

    def history(self, since: float, resolution: int) -> Past:
        """Return a row for every `resolution` seconds after second `since`, and what was marked; see `Past`."""
        return self._history.since(since, resolution, self._markers.began)

    def erase(self) -> int:
        """Forget the rows of the history and the newest frame; return the number of rows. A running session goes on."""
        self._frame = None
        return self._history.clear()

    def mark(self, label: str, *, t: float | None = None, at: datetime | None = None) -> dict[str, Any]:
        """Return the marker that the session's next event will report; see `service.markers.Markers.add`.

        Raise `UserError` for a label or time that cannot be used, and `SessionOver` once the session has ended.
        """
        self._check_open("takes no markers any more")
        return self._markers.add(label, t, at)

    def figures(self) -> SessionFigures:
        """Return the live figures: rates per second, latencies in milliseconds, counts since the session's start."""
        done = list(self._done)
        now = time.monotonic()
        recent = sum(1 for event in done if now - event.at <= RATE_OVER)
        since = done[0].at if len(done) == FIGURES_OVER else self._started  # a fast camera fills the list sooner
        age = min(RATE_OVER, max(now - since, 1e-3))
        latencies = np.array([event.latency for event in done]) * 1e3 if done else None
        p50, p95 = (np.percentile(latencies, [50, 95]).round(1).tolist()) if latencies is not None else (None, None)
        return SessionFigures(
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
            neutral=ASKED if self._neutral_asked.is_set() else self._pipeline.neutral,
        )

    def rules(self) -> list[RuleState]:
        """Return the session's rules, each with why it can never hold, if so."""
        return [RuleState.of(rule, self._rules.problem(rule)) for rule in self._rules.rules]

    def set_rules(self, texts: Sequence[str]) -> list[RuleState]:
        """Judge by these rules from now on, and return them; see `service.rules.parse_rules`.

        Raise `UserError` for one that cannot be read or is on a value that the model does not give, and `SessionOver`
        once the session has ended.
        """
        self._check_open("judges by no rules any more")
        self._rules.set(parse_rules(texts))
        return self.rules()

    def _check_open(self, consequence: str) -> None:
        if self.over:
            raise SessionOver(f"the session {self.name!r} has {self.state.value}: it {consequence}; open it anew first")

    def _run(self) -> None:
        SESSION.set(self.name)
        try:
            while not self._stop.is_set() and not self.over:
                self._step()
        except Exception as error:
            log.exception("the session ended because of an internal error")
            self._change(StateChange(State.FAILED, f"internal error: {type(error).__name__}"))
        finally:
            self._capture.stop(0)
            self._count_faces(0)
            self._neutral_asked.clear()
            self._pipeline.end_neutral_step()
            if not self.over:
                self._change(StateChange(State.ENDED, "closed"))
            audit.write("stop", self.name, state=self.state.value, seconds=round(time.monotonic() - self._started, 1))
            self._ended()

    def _step(self) -> None:
        self._inbox.wait(WAIT)
        with self._pipeline.semaphore:
            self._work(self._inbox.take(0.0))  # taken when the core is free: by now a newer frame may have come

    def _work(self, arrival: Arrival) -> None:
        if self._baseline_asked.is_set():
            self._baseline_asked.clear()
            self._pipeline.reset_baseline()
        if self._neutral_asked.is_set() and arrival.frame is not None:
            self._pipeline.begin_neutral_step()
            self._neutral_asked.clear()
        final = [change for change in arrival.states if change.state in (State.ENDED, State.FAILED)]
        for change in arrival.states:
            if change not in final:
                self._change(change)
        for sound in arrival.sounds:
            for event in self._pipeline.sound(sound):
                self._emit(event)
                self._judge(event)
                self._markers.follow(self._pipeline.t, time.time())
        if arrival.frame is not None and self._pipeline.wants(arrival.frame):
            self._read(arrival.frame)
        elif arrival.frame is not None:  # beyond the rate that was asked for
            self._pipeline.skip(arrival.frame)
            self._frame = arrival.frame
        for marker in self._markers.take():
            self._report(self._pipeline.marker(marker))
        for change in final:  # after the frame and sound that came before the end
            self._change(change)

    def _read(self, frame: Frame) -> None:
        event = self._pipeline.frame(frame)
        latency = time.perf_counter() - frame.entered
        if self._frame is None and tracing.is_on():  # of the first picture alone; figures and metrics have all of them
            now = time.time()
            tracing.past("decode first picture", self._begun, now - latency, self._trace)
            tracing.past("perceive first picture", now - latency, now, self._trace)
        metrics.EVENT_LATENCY.observe(latency)
        self._done.append(_Done(time.monotonic(), latency))
        self._frame = frame
        self._history.add(event, frame.t)
        self._count_faces(len(event.landmarks))
        self._markers.follow(frame.t, frame.captured_at)
        self._emit(event)
        self._judge(event)

    def _change(self, change: StateChange) -> None:
        self._reconnects += change.state is State.RECONNECTING
        self.state, self.detail = change.state, change.detail
        log.info("the session is %s", change)
        self._emit(self._pipeline.state(change))

    def _judge(self, event: Event) -> None:
        """Report what the rules find in an event of a picture or of sound."""
        if not self._rules.wanted:  # else the event would be read from its text for nothing
            return
        for alert in self._rules.update(event.data):
            self._report(self._pipeline.alert(alert))
        for rule in self._rules.rules:
            if rule not in self._warned and (problem := self._rules.problem(rule)) is not None:
                self._warned.add(rule)
                log.warning("%s", problem)

    def _report(self, event: Event) -> None:
        """Publish a marker or an alert, and keep it in the history."""
        self._history.note(event)
        self._emit(event)

    def _emit(self, event: Event) -> None:
        self._events += 1
        self._publish(event)

    def _count_faces(self, faces: int) -> None:
        metrics.FACES.inc(faces - self._faces)
        self._faces = faces
