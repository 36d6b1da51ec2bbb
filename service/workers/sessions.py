"""The sessions of a service that has workers: a name and a worker for each, and what was heard of it last."""

import contextlib
import logging
import threading
import time

from pydantic import TypeAdapter

from engines.errors import UserError
from service.capture.media import Frame, State
from service.events import Event
from service.figures import Figures
from service.publish.hub import Hub
from service.register import Register
from service.workers.fleet import STEADY, Fleet
from service.workers.handle import Worker

log = logging.getLogger(__name__)

_FIGURES = TypeAdapter(Figures)


class RemoteSession:
    """Stands for a `service.session.Session` in a worker. `gone`: nothing more will come."""

    def __init__(self, name: str, worker: Worker, source: str | None, purpose: str | None) -> None:
        """`source`: what is opened anew if the worker breaks; None for a peer that came by itself."""
        self.name = name
        self.worker = worker
        self.source = source
        self.purpose = purpose
        self.label = ""  # without credentials; known once it is open
        self.state = State.CONNECTING
        self.detail = ""
        self.last: Event | None = None
        self.gone = threading.Event()
        self._figures = Figures()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in (State.ENDED, State.FAILED)

    def take(self, event: Event) -> None:
        """Notes what an event says of the session."""
        self.last = event
        self.state = State(event.state)
        self.detail = self.detail if event.detail is None else event.detail
        if self.over:
            self.gone.set()

    def failure(self, why: str) -> Event | None:
        """The event that its worker could not send; None if there was none before."""
        if self.last is None:
            return None
        nothing = {"reasons": ["stale"], "captured_at": None, "timing_ms": None, "image_size": None, "faces": []}
        data = {**self.last.data, **nothing, "seq": self.last.seq + 1, "state": State.FAILED.value, "detail": why}
        return Event.of(data)

    def figures(self) -> Figures:
        """Return the live figures; the last ones where the worker does not answer any more. Blocks."""
        with contextlib.suppress(UserError):
            self._figures = _FIGURES.validate_python(self.worker.request("GET", f"/v1/sessions/{self.name}")["figures"])
        return self._figures

    def reset_baseline(self) -> None:
        """See `Session.reset_baseline`. Blocks."""
        self.worker.request("POST", f"/v1/sessions/{self.name}/baseline")

    def latest_frame(self) -> Frame | None:
        """None: pictures stay in their worker, which is asked for previews itself (`service.workers.proxy`)."""
        return None

    def history(self, since: float, resolution: int) -> list[list[float | None]]:
        """Return nothing: the worker answers such requests itself (`service.workers.proxy`)."""
        return []


class RemoteSessions:
    """Does for a service with workers what `service.sessions.Sessions` does for one without. Made in the loop."""

    def __init__(self, fleet: Fleet, hub: Hub, *, limit: int) -> None:
        self.fleet = fleet
        self._hub = hub
        self._register: Register[RemoteSession] = Register(limit, hub.forget)
        self._placing = threading.Lock()
        fleet.attach(self._take, self._broke)

    def open(self, source: str, name: str | None = None, *, purpose: str | None = None) -> RemoteSession:
        """See `Sessions.open`. Blocks."""
        session = self.place(name, source, purpose=purpose)
        try:
            opening = {"source": source, "name": session.name, "purpose": purpose}
            session.label = session.worker.request("POST", "/worker/sessions", json=opening)["source"]
        except BaseException:
            self.drop(session)
            raise
        return session

    def place(self, name: str | None, source: str | None, *, purpose: str | None) -> RemoteSession:
        """A session that is not open yet, under its name, and its worker, ready for it. Blocks; raises `UserError`."""

        def load(worker: Worker) -> int:
            return sum(session.worker is worker and not session.over for session in self._register.list())

        with self._placing:  # the next one is to see where this one went
            self._register.check(name)
            worker = self.fleet.free(load)
            session = self._register.add(name, lambda name: RemoteSession(name, worker, source, purpose))
        try:
            self.fleet.ready(session.worker)
        except BaseException:
            self.drop(session)
            raise
        return session

    def drop(self, session: RemoteSession) -> None:
        """Lists it no more."""
        self._register.remove(session.name, session)

    def get(self, name: str) -> RemoteSession:
        """Raises `UnknownSession`."""
        return self._register.get(name)

    def list(self) -> list[RemoteSession]:
        """In the order of opening."""
        return self._register.list()

    def close(self, name: str, timeout: float = 5.0) -> None:
        """Ends a session and forgets it. Blocks; raises `UnknownSession`."""
        session = self.get(name)
        with contextlib.suppress(UserError):  # it ended by itself, or its worker did
            session.worker.request("DELETE", f"/v1/sessions/{name}")
            session.gone.wait(timeout)
        self.drop(session)

    def close_all(self, timeout: float = 5.0) -> None:
        """Ends every session, all at once; returns within about `timeout` seconds."""
        deadline = time.monotonic() + timeout
        self.fleet.tell()
        for session in self.list():
            if not session.over:
                session.gone.wait(max(0.0, deadline - time.monotonic()))
            self.drop(session)

    def _take(self, worker: Worker, event: Event) -> None:
        with contextlib.suppress(UserError):  # forgotten already
            session = self.get(event.session)
            if session.worker is worker:
                session.take(event)
                self._hub.publish(event)

    def _broke(self, worker: Worker, how: str) -> None:
        """Its sessions have failed; what they read on this side is opened anew in another one."""
        for session in self.list():
            if session.worker is not worker or session.over:
                continue
            event = session.failure(f"The worker process that read it ended ({how})")
            if event is not None:
                session.take(event)
                self._hub.publish(event)
            if session.source is not None and time.monotonic() - worker.since > STEADY:
                threading.Thread(target=self._again, args=(session,), daemon=True).start()

    def _again(self, session: RemoteSession) -> None:
        try:
            self.open(session.source or "", session.name, purpose=session.purpose)
        except UserError as error:
            log.error("a session could not be opened anew: %s", error)
