"""One session that a worker process reads, as the service in front knows it."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from service import audit
from service.capture.media import Frame, State
from service.events import Event
from service.history import NOTES, Note, Past
from service.neutral import NeutralStep, read_step
from service.purpose import name_of
from service.register import UnknownSession
from service.rules import RuleState
from service.session_figures import SessionFigures
from service.session_options import SessionOptions
from service.workers.fleet import Breaks
from service.workers.handle import Worker


class RemoteSession:
    """Represent a session of a worker process, with the interface of `service.session.Session`."""

    foreign = False

    def __init__(
        self,
        name: str,
        incarnation: int,
        worker: Worker,
        source: str | None,
        purpose: str | None,
        options: SessionOptions,
    ) -> None:
        """Hold what is needed to open `source` anew if the worker breaks. It is None for a WebRTC peer."""
        self.name = name
        self.incarnation = incarnation
        self.worker = worker
        self.source = source
        self.purpose = purpose
        self.options = options
        self.allowed: list[str] | None = None  # where the source may lead; None: anywhere
        self.label = ""  # without credentials; known once it is open
        self.state = State.CONNECTING
        self.detail = ""
        self.last: Event | None = None
        self.opened = False
        self.previous: RemoteSession | None = None  # had the name before; listed again if opening fails
        self.reopening: object = None  # the newest attempt to open it anew; older ones give up
        self.bound_for: Worker | None = None  # where it is about to be moved, while its worker still reads it
        self.gone = threading.Event()  # set at the last event
        self.breaks = Breaks()
        self._ending = threading.Lock()
        self._started = time.monotonic()
        # What it was given by requests, and its alerts, for its next worker to have too.
        self.own_rules: list[str] | None = None
        self.notes: deque[Note] = deque(maxlen=NOTES)
        self.records: RecordStore | None = None

    @property
    def over(self) -> bool:
        """Return whether the session has ended or failed for good."""
        return self.state in (State.ENDED, State.FAILED)

    @property
    def node(self) -> str | None:
        """Return the name of the cluster's node that reads it; None without a cluster."""
        return self.worker.process.node or None

    def note(self, event: Event) -> None:
        """Keep what `event` says of the session."""
        if event.kind == "alert":
            self._keep(Note("alert", {**event.data["alert"], "t": event.data["t"]}, time.time()))
        self.last = event
        self.state = State(event.state)
        self.detail = self.detail if event.detail is None else event.detail
        if self.over:
            self.end()

    def broken(self, state: State, detail: str) -> Event | None:
        """Change to `state`, which its worker cannot report; return the event for it, None if there was none yet."""
        if self.last is None:
            self.state, self.detail = state, detail
            if self.over:
                self.end()
            return None
        nothing = {"reasons": ["stale"], "captured_at": None, "timing_ms": None, "image_size": None, "faces": []}
        last = {key: value for key, value in self.last.data.items() if key not in ("marker", "alert")}
        data = {**last, **nothing, "seq": self.last.seq + 1, "state": state.value, "detail": detail}
        event = Event.of(data)
        self.note(event)
        return event

    def begin(self) -> None:
        """Note that the worker has opened it, for the first time or after another worker broke."""
        if not self.opened:
            kind = "whip" if self.source is None else audit.kind_of(self.source)
            purpose = None if self.purpose is None else name_of(self.purpose)
            audit.write("start", self.name, source=kind, purpose=purpose)
        self.opened, self.previous = True, None

    def end(self) -> None:
        """Note that no event comes after the last one."""
        with self._ending:  # the last event and the end of the service may come at once
            if self.opened and not self.gone.is_set():
                seconds = round(time.monotonic() - self._started, 1)
                audit.write("stop", self.name, state=self.state.value, seconds=seconds)
            self.gone.set()

    def erase(self) -> int:
        """Forget what the worker keeps of the session, and its last event if it is over; return the history's rows.

        Blocks; raise `Unavailable` if its worker does not answer. The history of a worker that has ended is gone.
        """
        if self.over:
            self.last = None
        self.notes.clear()
        if self.records is not None:
            self.records.forget_notes(self)
        if not self.opened or not self.worker.running:
            return 0
        try:
            erased: dict[str, int] = self.worker.request("DELETE", f"/v1/sessions/{self.name}/data")["erased"]
        except UnknownSession:
            return 0
        return erased["history"]

    def figures(self) -> SessionFigures:
        """Return the live figures as of the worker's last sign of life, at most half a second ago where it lives."""
        return self.worker.beat.figures.get(self.name, SessionFigures())

    def reset_baseline(self) -> None:
        """Start the neutral baseline anew with the next frame. Blocks; raise `Unavailable` without a worker."""
        self._ask("POST", "baseline")

    def begin_neutral_step(self) -> NeutralStep:
        """Begin the neutral step with the next frame. Blocks; raise the error with which the worker refuses."""
        return read_step(self._ask("POST", "neutral"))

    def mark(self, label: str, *, t: float | None = None, at: datetime | None = None) -> dict[str, Any]:
        """Return the marker that the next event will report. Blocks; raise the error with which the worker refuses."""
        wanted = {"label": label, "t": t, "at": at.isoformat() if at is not None else None}
        marker: dict[str, Any] = self._ask("POST", "markers", json=wanted)
        self._keep(Note("marker", marker, datetime.fromisoformat(marker["at"]).timestamp()))
        return marker

    def rules(self) -> list[RuleState]:
        """Return the session's rules. Blocks; raise `Unavailable` without a worker."""
        return [RuleState(**rule) for rule in self._ask("GET", "rules")["rules"]]

    def set_rules(self, texts: Sequence[str]) -> list[RuleState]:
        """Judge by these rules from now on. Blocks; raise the error with which the worker refuses."""
        answer = self._ask("PUT", "rules", json={"rules": [*texts]})
        self.own_rules = [*texts]
        if self.records is not None:
            self.records.keep_rules(self)
        return [RuleState(**rule) for rule in answer["rules"]]

    def _keep(self, note: Note) -> None:
        self.notes.append(note)
        if self.records is not None:
            self.records.keep_note(self, note)

    def _ask(self, method: str, what: str, **more: Any) -> Any:
        if not self.opened:
            raise UnknownSession(f"the session {self.name!r} is still being opened; try again")
        return self.worker.request(method, f"/v1/sessions/{self.name}/{what}", **more)

    def latest_frame(self) -> Frame | None:
        """Return None: pictures stay in the worker, which answers previews itself (`service.workers.proxy`)."""
        return None

    def history(self, since: float, resolution: int) -> Past:
        """Return nothing: the worker answers such requests itself (`service.workers.proxy`)."""
        return Past([], [], [])


class RecordStore(Protocol):
    """Describe a store outside of this process: it holds what another service needs to take a session over."""

    def keep_rules(self, session: RemoteSession) -> None:
        """Keep the session's own rules. Blocks."""

    def keep_note(self, session: RemoteSession, note: Note) -> None:
        """Keep one more marker or alert. Does not block."""

    def forget_notes(self, session: RemoteSession) -> None:
        """Forget the session's markers and alerts. Blocks."""
