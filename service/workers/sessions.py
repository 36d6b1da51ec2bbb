"""The sessions of a service with workers: for each its name, its worker, and the last event that came of it."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from models.errors import UserError
from service import metrics
from service.capture.media import State
from service.events import Event
from service.loaded_model import LoadedModel
from service.models_beside import too_many
from service.publish.hub import Hub
from service.purpose import decide
from service.register import Register, Unavailable, UnknownSession
from service.session_options import Offer, RequestedOptions
from service.settings import Settings
from service.workers.fleet import MANY, QUICK_RESTARTS, Fleet, pause_after
from service.workers.handle import OPENED_IN, UNDO_WITHIN, Worker
from service.workers.leases import LEASE, Leases, LeasesAway, NoLeases
from service.workers.remote_session import RemoteSession

log = logging.getLogger(__name__)

CLOSED = "closed"  # the detail of a session that its worker ended
MOST_BREAKS = 5  # of one session within a minute, after which its source counts as the cause and it stays failed
ASK_LEASE_EVERY = 0.2  # s between attempts to take the lease of a session from a worker that was cut off


class RemoteSessions:
    """Hold the sessions of all workers, with the interface of `service.sessions.Sessions`. Made in the loop."""

    def __init__(
        self, fleet: Fleet, hub: Hub, settings: Settings | None = None, *, leases: Leases | None = None
    ) -> None:
        """Publish the workers' events to `hub` from now on; `settings` are those of the service, by default none."""
        settings = settings or Settings.model_construct()
        self.fleet = fleet
        self._leases = leases or NoLeases()
        self._held_by: dict[str, str] = {}  # session -> id of its last worker; the lease passes from it to the next
        self._hub = hub
        self._purpose = settings.purpose
        self._offer = Offer.of(settings)
        self._max_models = settings.max_models
        self._register: Register[RemoteSession] = Register(settings.max_sessions, self._forget_events)
        self._placing = threading.Lock()
        self._closing = threading.Event()
        fleet.attach(self._publish, self._broke, self._leaves)

    def open(
        self,
        source: str,
        name: str | None = None,
        *,
        purpose: str | None = None,
        allowed: Sequence[str] | None = None,
        asked: RequestedOptions | None = None,
    ) -> RemoteSession:
        """Open `source` in a worker. Blocks; raise `UserError` for a bad source or name, or if it was closed meanwhile.

        See `service.sessions.Sessions.open` for `allowed` and `asked`. If it fails, the session is
        ended in the worker too.
        """
        session = self.place(name, source, purpose=purpose, asked=asked)
        session.allowed = None if allowed is None else [*allowed]
        try:
            self._open_in_worker(session)
        except BaseException:
            self.drop(session)
            raise
        return session

    def place(
        self,
        name: str | None,
        source: str | None,
        *,
        purpose: str | None,
        incarnation: int | None = None,
        asked: RequestedOptions | None = None,
    ) -> RemoteSession:
        """Register a session that is not open yet and return it once its worker is ready. Blocks.

        Raise `UserError` for a name, purpose or option that cannot be used and for a worker that cannot be started.
        """
        purpose = decide(source, purpose, self._purpose)
        options = self._offer.decide(asked)
        node = None if source is None else self.fleet.launcher.node_of(source)[1]
        with self._placing:  # one at a time, so that each sees where the one before it went
            self._register.check(name)
            self._check_memory(options.model)
            worker = self.fleet.least_loaded(self._load, node=node)
            previous = self._register.find(name)

            def make(name: str, count: int) -> RemoteSession:
                made = RemoteSession(name, count, worker, source, purpose, options)
                self._equip(made)  # before others can see it
                return made

            session = self._register.add(name, make, incarnation)
            session.previous = previous
        try:
            session.worker = self._ready_worker(session.worker, node, self._check_worker)
            self._take_lease(session)
        except BaseException:
            self.drop(session)
            raise
        return session

    def confirm(self, session: RemoteSession) -> None:
        """Raise `UnknownSession` if `session`, which its worker has opened now, was closed meanwhile; undo it then."""
        if not self._register.holds(session.name, session):
            self.undo(session)
            raise UnknownSession(f"the session {session.name!r} was closed while it was being opened")
        session.begin()

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

    def own(self) -> list[RemoteSession]:
        """Return the sessions of this service in the order of opening."""
        return self._register.list()

    def list(self) -> Sequence[Any]:
        """Return all sessions that this service shows."""
        return self.own()

    def models_beside(self) -> Sequence[LoadedModel]:
        """Return what the workers last said of the models that they have in memory beside the service's own."""
        return [one for worker in self.fleet.workers for one in worker.beat.beside]

    def close(self, name: str, timeout: float = 5.0) -> None:
        """End the session called `name` and remove it. Blocks; raise `UnknownSession` if there is none."""
        session = self.get(name)
        session.previous = None
        if not session.opened:  # whoever opens it sees that it is not registered any more, and undoes it
            self.drop(session)
        with contextlib.suppress(UserError):  # it ended by itself, or its worker did
            self._end_in_worker(session, timeout)
            if session.opened and not session.worker.leaving:  # of one that leaves, no end is passed on
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
        for session in self.own():
            if not session.over and session.worker.running and session.opened:
                session.gone.wait(max(0.0, deadline - time.monotonic()))
            session.end()
            self.drop(session)

    def _check_memory(self, model: str) -> None:
        """Raise `TooMany` if sessions use as many other models as a worker may have in memory."""
        used = {session.options.model for session in self.own() if not session.over} | {self._offer.given.model}
        if model not in used and len(used) >= self._max_models:
            raise too_many(model, self._max_models, sorted(used))

    def _ready_worker(self, worker: Worker, node: str | None, check: Callable[[], None] = lambda: None) -> Worker:
        """Return `worker` once it takes sessions, or another one that does, where its start takes long or fails.

        Ray may have no room for it, although a node that has just died still seemed to have. Blocks, and calls `check`
        once a second; raise `UserError` if it cannot be started.
        """
        since, other = time.monotonic(), None
        while other is None and not worker.started_within(1.0):
            check()
            if time.monotonic() - since > self.fleet.launcher.new_worker_within:
                other = self.fleet.ready_worker(self._load, node)
        if other is not None:
            return other
        try:
            self.fleet.wait_for(worker)
        except UserError:
            check()
            other = self.fleet.ready_worker(self._load, node)
            if other is None:
                raise
        return other or worker

    def _check_worker(self) -> None:
        """Raise `UserError` if another service is to open sessions in place of this one; it is the only one here."""

    def _forget_events(self, name: str) -> None:
        """Forget the last event of a name that is no longer registered, and end the subscriptions to it."""
        self._hub.forget(name)

    def _equip(self, session: RemoteSession) -> None:
        """Give a new session what is kept outside of this process for its name; nothing where nothing is kept."""

    def _load(self, worker: Worker) -> int:
        return sum(worker in (session.worker, session.bound_for) and not session.over for session in self.own())

    def _take_lease(self, session: RemoteSession, cut_off: Worker | None = None) -> None:
        """Take the lease of `session` for its worker. Blocks until a worker that was `cut_off` cannot have it any more.

        Where the leases cannot be reached, only the time that has passed tells that. Raise `Unavailable` if somebody
        else has the lease.
        """
        since = time.monotonic() if cut_off is None else cut_off.heard_at
        holder, before = session.worker.process.id, self._held_by.get(session.name, "")
        if cut_off is not None and before == cut_off.process.id:
            before = ""  # it may still read the session
        while not self._closing.is_set():
            late = cut_off is None or time.monotonic() - since > LEASE
            try:
                if self._leases.take(session.name, holder, before):
                    break
                if late and time.monotonic() - since > 2 * LEASE:
                    raise Unavailable(f"the session {session.name!r} is read by a worker of another service; try again")
            except LeasesAway as error:
                if late:
                    log.warning("a session is opened without a lease: %s", error)
                    break
            self._closing.wait(ASK_LEASE_EVERY)
        self._held_by[session.name] = holder

    def _open_in_worker(self, session: RemoteSession) -> None:
        opening = {
            "source": None if session.source is None else self.fleet.launcher.node_of(session.source)[0],
            "name": session.name,
            "purpose": session.purpose,
            "incarnation": session.incarnation,
            "allowed": session.allowed,
            "asked": session.options.as_request(),
            "rules": session.own_rules,
            "earlier": [asdict(note) for note in session.notes],
        }
        try:
            session.label = session.worker.request("POST", "/worker/sessions", json=opening, within=OPENED_IN)["source"]
        except Unavailable:  # it may open it yet
            self.undo(session)
            raise
        self.confirm(session)

    def _end_in_worker(self, session: RemoteSession, within: float) -> None:
        session.worker.request("DELETE", f"/worker/sessions/{session.name}/{session.incarnation}", within=within)

    def _publish(self, worker: Worker, event: Event) -> None:
        session = self._register.find(event.session)
        if session is None or session.worker is not worker or session.incarnation != event.incarnation:
            return
        if worker.leaving and session.source is not None and event.state == State.ENDED and event.detail == CLOSED:
            return  # its worker ends, and the session is moved
        session.note(event)
        self._hub.publish(event)

    def _report(self, session: RemoteSession, state: State, detail: str) -> None:
        event = session.broken(state, detail)
        if event is not None:
            self._hub.publish(event)

    def _broke(self, worker: Worker, how: str) -> None:
        """Reopen the sessions of a worker that broke, where their sources are opened on this side; fail the others."""
        for session in self.own():
            if session.worker is not worker or session.over or not session.opened:
                continue
            if worker.leaving and session.bound_for is not None:
                continue  # it is on its way
            breaks = session.breaks.add()
            again = session.source is not None and breaks <= MOST_BREAKS
            why = f"The worker process that read it ended ({how})"
            if session.source is not None and not again:
                why += f", for the {breaks}th time within a minute; it is not opened again"
            self._report(session, State.RECONNECTING if again else State.FAILED, why)
            if again:
                self._begin_reopening(session, breaks, worker if worker.hung else None)

    def _leaves(self, worker: Worker) -> None:
        """Move the sessions of a worker whose node is about to leave; end those of peers, which connect again."""
        log.info("a worker on node %s is about to leave; its sessions are moved", worker.process.node)

        def leave() -> None:
            moving = [self._begin_reopening(session, 0, None) for session in of_worker if session.source is not None]
            for session in of_worker:
                if session.source is None:
                    self._report(session, State.ENDED, "The node that read it leaves the cluster; connect again")
                    self.undo(session)
            for thread in moving:
                thread.join()
            self.fleet.dismiss(worker)

        of_worker = [one for one in self.own() if one.worker is worker and one.opened and not one.over]
        threading.Thread(target=leave, name="leave", daemon=True).start()

    def _begin_reopening(self, session: RemoteSession, breaks: int, cut_off: Worker | None) -> threading.Thread:
        attempt = session.reopening = object()
        thread = threading.Thread(target=self._reopen, args=(session, breaks, attempt, cut_off), daemon=True)
        thread.start()
        return thread

    def _reopen(self, session: RemoteSession, breaks: int, attempt: object, cut_off: Worker | None) -> None:
        """Open the source of `session` in another worker, and try again until that succeeds or it is closed.

        A worker that still reads it, because its node is only about to leave, goes on until the other one is ready.
        """
        reason = ""
        while not self._closing.wait(pause_after(breaks)) and self._register.holds(session.name, session):
            try:
                node = self.fleet.launcher.node_of(session.source or "")[1]
                with self._placing:
                    if session.reopening is not attempt:
                        return
                    new = session.bound_for = self.fleet.least_loaded(self._load, enough=MANY + 1, node=node)
                new = session.bound_for = self._ready_worker(new, node)
                with self._placing:
                    if session.reopening is not attempt:
                        return
                    old, before = session.worker, session.incarnation
                    session.worker, session.bound_for = new, None  # from here on, no event of the old one is passed on
                    session.incarnation = self._register.count(session.name)
                if old.leaving and old is not new:
                    self._report(session, State.RECONNECTING, "Its node leaves the cluster; another one goes on")
                    with contextlib.suppress(UserError):
                        old.request("DELETE", f"/worker/sessions/{session.name}/{before}", within=UNDO_WITHIN)
                self._take_lease(session, cut_off)
                self._open_in_worker(session)
                metrics.SESSIONS_MOVED.inc()
                return
            except UnknownSession:  # closed meanwhile
                return
            except UserError as error:
                breaks = max(breaks, QUICK_RESTARTS) + 1  # so that the pauses grow
                if str(error) != reason and not self._closing.is_set():
                    reason = str(error)
                    log.error("session %s could not be opened anew: %s", session.name, reason)
            finally:
                session.bound_for = None
