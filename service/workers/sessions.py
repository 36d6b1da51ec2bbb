"""The sessions of a service with workers: for each its name, its worker, and the last event that came of it."""

import contextlib
import logging
import threading
import time

from models.errors import UserError
from service.capture.media import Frame, State
from service.events import Event
from service.figures import Figures
from service.publish.hub import Hub
from service.register import Register, Unavailable, UnknownSession
from service.workers.fleet import QUICK_RESTARTS, Breaks, Fleet, pause_after
from service.workers.handle import UNDO_WITHIN, Worker

log = logging.getLogger(__name__)

MOST_BREAKS = 5  # of one session within a minute: then its source is taken for the cause, and it stays failed
MANY = 4  # sessions that a worker takes over from a broken one; beyond, they wait for a new worker


class RemoteSession:
    """A session in a worker process: what `service.session.Session` is in the same process."""

    def __init__(self, name: str, incarnation: int, worker: Worker, source: str | None, purpose: str | None) -> None:
        """Hold what is needed to open `source` anew if the worker breaks; None for a peer, which came by itself."""
        self.name = name
        self.incarnation = incarnation
        self.worker = worker
        self.source = source
        self.purpose = purpose
        self.label = ""  # without credentials; known once it is open
        self.state = State.CONNECTING
        self.detail = ""
        self.last: Event | None = None
        self.opened = False
        self.previous: RemoteSession | None = None  # had the name before; listed again if opening fails
        self.reopening: object = None  # the newest attempt to open it anew; older ones give up
        self.gone = threading.Event()  # set at the last event
        self.breaks = Breaks()

    @property
    def over(self) -> bool:
        """Return whether the session has ended or failed for good."""
        return self.state in (State.ENDED, State.FAILED)

    def note(self, event: Event) -> None:
        """Keep what `event` says of the session."""
        self.last = event
        self.state = State(event.state)
        self.detail = self.detail if event.detail is None else event.detail
        if self.over:
            self.gone.set()

    def broken(self, state: State, detail: str) -> Event | None:
        """Change to `state`, which its worker cannot report; return the event for it, None if there was none yet."""
        if self.last is None:
            self.state, self.detail = state, detail
            if self.over:
                self.gone.set()
            return None
        nothing = {"reasons": ["stale"], "captured_at": None, "timing_ms": None, "image_size": None, "faces": []}
        data = {**self.last.data, **nothing, "seq": self.last.seq + 1, "state": state.value, "detail": detail}
        event = Event.of(data)
        self.note(event)
        return event

    def figures(self) -> Figures:
        """Return the live figures as of the worker's last sign of life, at most half a second ago where it lives."""
        return self.worker.beat.figures.get(self.name, Figures())

    def reset_baseline(self) -> None:
        """Start the neutral baseline anew with the next frame. Blocks; raise `Unavailable` without a worker."""
        if not self.opened:
            raise UnknownSession(f"the session {self.name!r} is still being opened; try again")
        self.worker.request("POST", f"/v1/sessions/{self.name}/baseline")

    def latest_frame(self) -> Frame | None:
        """Return None: pictures stay in the worker, which answers previews itself (`service.workers.proxy`)."""
        return None

    def history(self, since: float, resolution: int) -> list[list[float | None]]:
        """Return nothing: the worker answers such requests itself (`service.workers.proxy`)."""
        return []


class RemoteSessions:
    """The sessions of all workers: what `service.sessions.Sessions` is in the same process. Made in the loop."""

    def __init__(self, fleet: Fleet, hub: Hub, *, limit: int) -> None:
        """Publish the workers' events to `hub` from now on."""
        self.fleet = fleet
        self._hub = hub
        self._register: Register[RemoteSession] = Register(limit, hub.forget)
        self._placing = threading.Lock()
        self._closing = threading.Event()
        fleet.attach(self._publish, self._broke)

    def open(self, source: str, name: str | None = None, *, purpose: str | None = None) -> RemoteSession:
        """Open `source` in a worker. Blocks; raise `UserError` for a bad source or name, or if it was closed meanwhile.

        Whatever goes wrong, the worker does not go on with it.
        """
        session = self.place(name, source, purpose=purpose)
        try:
            self._open_in_worker(session)
        except BaseException:
            self.drop(session)
            raise
        return session

    def place(self, name: str | None, source: str | None, *, purpose: str | None) -> RemoteSession:
        """Register a session that is not open yet and return it once its worker is ready. Blocks.

        Raise `UserError` for a name that cannot be used and for a worker that cannot be started.
        """
        with self._placing:  # one at a time, so that each sees where the one before it went
            self._register.check(name)
            worker = self.fleet.least_loaded(self._load)
            previous = self._register.find(name)
            session = self._register.add(
                name, lambda name, incarnation: RemoteSession(name, incarnation, worker, source, purpose)
            )
            session.previous = previous
        try:
            self.fleet.wait_for(session.worker)
        except BaseException:
            self.drop(session)
            raise
        return session

    def confirm(self, session: RemoteSession) -> None:
        """Raise `UnknownSession` if `session`, which its worker has opened now, was closed meanwhile; undo it then."""
        if not self._register.holds(session.name, session):
            self.undo(session)
            raise UnknownSession(f"the session {session.name!r} was closed while it was being opened")
        session.opened, session.previous = True, None

    def undo(self, session: RemoteSession) -> None:
        """End `session` in its worker, where it may be open or being opened. Blocks for `UNDO_WITHIN` at most."""
        with contextlib.suppress(UserError):
            self._end_in_worker(session, UNDO_WITHIN)

    def drop(self, session: RemoteSession) -> None:
        """Remove `session` from the list; one that had its name before and is not replaced by it is listed again."""
        self._register.remove(session.name, session, session.previous)

    def get(self, name: str) -> RemoteSession:
        """Return the session called `name`. Raise `UnknownSession` if there is none."""
        return self._register.get(name)

    def opened(self, name: str) -> RemoteSession:
        """Return the session called `name`. Raise `UnknownSession` if there is none, or it is only being opened."""
        session = self.get(name)
        if not session.opened:
            raise UnknownSession(f"the session {name!r} is still being opened; try again")
        return session

    def find(self, name: str) -> RemoteSession | None:
        """Return the session called `name`, or None."""
        return self._register.find(name)

    def list(self) -> list[RemoteSession]:
        """Return all sessions in the order of opening."""
        return self._register.list()

    def close(self, name: str, timeout: float = 5.0) -> None:
        """End the session called `name` and remove it. Blocks; raise `UnknownSession` if there is none."""
        session = self.get(name)
        session.previous = None
        if not session.opened:  # whoever opens it sees that it is not registered any more, and undoes it
            self.drop(session)
        with contextlib.suppress(UserError):  # it ended by itself, or its worker did
            self._end_in_worker(session, timeout)
            if session.opened:
                session.gone.wait(timeout)
        if session.opened and not session.over:
            self._report(session, State.ENDED, "closed")
        self.drop(session)

    def close_all(self, timeout: float = 5.0) -> None:
        """End every session, all at once, and refuse new ones; return within about `timeout` seconds."""
        deadline = time.monotonic() + timeout
        self._closing.set()
        self._register.close()
        self.fleet.ask_to_end()
        for session in self.list():
            if not session.over and session.worker.running and session.opened:
                session.gone.wait(max(0.0, deadline - time.monotonic()))
            self.drop(session)

    def _load(self, worker: Worker) -> int:
        return sum(session.worker is worker and not session.over for session in self._register.list())

    def _open_in_worker(self, session: RemoteSession) -> None:
        opening = {
            "source": session.source,
            "name": session.name,
            "purpose": session.purpose,
            "incarnation": session.incarnation,
        }
        try:
            session.label = session.worker.request("POST", "/worker/sessions", json=opening)["source"]
        except Unavailable:  # it may open it yet
            self.undo(session)
            raise
        self.confirm(session)

    def _end_in_worker(self, session: RemoteSession, within: float) -> None:
        session.worker.request("DELETE", f"/worker/sessions/{session.name}/{session.incarnation}", within=within)

    def _publish(self, worker: Worker, event: Event) -> None:
        session = self._register.find(event.session)
        if session is not None and session.worker is worker and session.incarnation == event.incarnation:
            session.note(event)
            self._hub.publish(event)

    def _report(self, session: RemoteSession, state: State, detail: str) -> None:
        event = session.broken(state, detail)
        if event is not None:
            self._hub.publish(event)

    def _broke(self, worker: Worker, how: str) -> None:
        """Reopen the sessions of a worker that broke, where their sources are opened on this side; fail the others."""
        for session in self.list():
            if session.worker is not worker or session.over or not session.opened:
                continue
            breaks = session.breaks.add()
            again = session.source is not None and breaks <= MOST_BREAKS
            why = f"The worker process that read it ended ({how})"
            if session.source is not None and not again:
                why += f", for the {breaks}th time within a minute; it is not opened again"
            self._report(session, State.RECONNECTING if again else State.FAILED, why)
            if again:
                attempt = session.reopening = object()
                threading.Thread(target=self._reopen, args=(session, breaks, attempt), daemon=True).start()

    def _reopen(self, session: RemoteSession, breaks: int, attempt: object) -> None:
        """Open the source of `session` in another worker, and try again until that succeeds or it is closed."""
        reason = ""
        while not self._closing.wait(pause_after(breaks)) and self._register.holds(session.name, session):
            try:
                with self._placing:
                    if session.reopening is not attempt:
                        return
                    session.worker = self.fleet.least_loaded(self._load, enough=MANY + 1)
                    session.incarnation = self._register.count(session.name)
                self.fleet.wait_for(session.worker)
                self._open_in_worker(session)
                return
            except UnknownSession:  # closed meanwhile
                return
            except UserError as error:
                breaks = max(breaks, QUICK_RESTARTS) + 1  # so that the pauses grow
                if str(error) != reason and not self._closing.is_set():
                    reason = str(error)
                    log.error("a session could not be opened anew: %s", reason)
