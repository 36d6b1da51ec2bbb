"""The sessions of several services on one cluster: each runs its own, and shows and serves those of all (Redis).

What they say of themselves, and records of their sessions, are in Redis (`service.workers.records`). So a name is used
once, requests about a session reach the service that has it, and the sessions of a service that has ended, or has no
worker, are opened anew by another, with all that they were given.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from models.errors import UserError
from service import metrics
from service.history import Note
from service.publish.hub import Hub
from service.register import NameTaken, OpenElsewhere, Unavailable, UnknownSession
from service.roles import Role
from service.session_options import RequestedOptions
from service.settings import Settings
from service.web.routes.sessions import SessionInfo, info_of
from service.workers.fleet import Fleet
from service.workers.foreign import ForeignSession, NoWorkerHere, OtherService
from service.workers.handle import OPENED_IN, UNDO_WITHIN
from service.workers.leases import Leases
from service.workers.records import TELL_EVERY, Records, redis_errors
from service.workers.remote_session import RemoteSession
from service.workers.sessions import RemoteSessions

log = logging.getLogger(__name__)

WITHOUT_WORKER = 5.0  # s that a service has to start a worker in place of its last one, before others open its sessions
_INFO = TypeAdapter(SessionInfo)


class SharedSessions(RemoteSessions):
    """Hold the sessions of this service's workers and of all other services. Made in the loop."""

    def __init__(self, fleet: Fleet, hub: Hub, settings: Settings, leases: Leases, address: str) -> None:
        """Tell others of this service, which answers at `address`, from now on."""
        super().__init__(fleet, hub, settings, leases=leases)
        assert settings.redis is not None
        self.id = secrets.token_hex(8)
        self._records = Records(settings.redis.get_secret_value(), self.id)
        self._token = next((token for token, role in settings.roles().items() if role is Role.MANAGE), None)
        self._address = address
        self._handed_over = False
        self._services: dict[str, OtherService] = {}
        self._alive: set[str] = set()  # ids of the other services that run
        self._open_here = True  # what this service last told the others: that it has a worker for new sessions
        self._open_elsewhere: list[str] = []  # ids of the other services that last told the same
        self._worker_at = -WITHOUT_WORKER  # s, monotonic: when this service last had a worker for new sessions
        self._foreign: dict[str, ForeignSession] = {}
        self._adopting: set[str] = set()  # sessions that are about to be this service's
        self._taken_over: set[str] = set()  # sessions of this service that another one had opened first
        self._leaving: set[str] = set()  # sessions that are about to be closed here, because another service has them
        self._heritage: dict[str, tuple[dict[str, Any], Sequence[Note]]] = {}  # records and notes of these
        self._teller = threading.Thread(target=self._tell, name="services", daemon=True)
        with contextlib.suppress(Exception):  # Redis may be away; its sink says so
            self._exchange()
        self._teller.start()

    @property
    def foreign(self) -> dict[str, ForeignSession]:
        """Return the sessions of the other services by name."""
        return self._foreign

    def open(
        self,
        source: str,
        name: str | None = None,
        *,
        purpose: str | None = None,
        allowed: Sequence[str] | None = None,
        asked: RequestedOptions | None = None,
    ) -> Any:
        """See `RemoteSessions.open`; where this service has no worker, another one opens what its clients may open."""
        try:
            return super().open(source, name, purpose=purpose, allowed=allowed, asked=asked)
        except NoWorkerHere as error:
            if allowed is None:  # of `--source`
                raise
            other = error.instead
        options = {} if asked is None else asked.model_dump(include={*RequestedOptions.model_fields}, exclude_none=True)
        wanted = {"source": source, "name": name, "purpose": purpose, **options}
        info = other.request("POST", "/v1/sessions", json=wanted, within=OPENED_IN)
        opened = ForeignSession(_INFO.validate_python(info), other, is_peer=False)
        self._foreign = {**self._foreign, opened.name: opened}
        return opened

    def place(
        self,
        name: str | None,
        source: str | None,
        *,
        purpose: str | None,
        incarnation: int | None = None,
        asked: RequestedOptions | None = None,
    ) -> RemoteSession:
        """See `RemoteSessions.place`.

        Raise `OpenElsewhere` for a name that another service's session has, or had, and `NoWorkerHere` where another
        service opens sessions in place of this one.
        """
        self._check_worker()
        session = None
        while session is None:
            chosen = name or self._free_name()
            last = self._claim_name(chosen, source, purpose)
            incarnation = last + 1 if last else incarnation
            try:
                session = super().place(chosen, source, purpose=purpose, incarnation=incarnation, asked=asked)
            except BaseException as error:
                if isinstance(error, NameTaken) and chosen in self._taken_over:
                    raise OpenElsewhere(str(error)) from None  # another service had opened it
                if self._register.find(chosen) is None:
                    self._forget(chosen)
                raise
        return session

    def confirm(self, session: RemoteSession) -> None:
        """See `RemoteSessions.confirm`; from then on, every service that is asked about the session knows it."""
        super().confirm(session)
        with contextlib.suppress(*redis_errors()):
            self._say()  # first, so that a service that sees the record knows that there is a worker
            self._write_record(session)

    def keep_rules(self, session: RemoteSession) -> None:
        """Write the session's rules to its record, for the service that may have to go on with it. Blocks."""
        with contextlib.suppress(*redis_errors()):
            self._write_record(session)

    def keep_note(self, session: RemoteSession, note: Note) -> None:
        """Write a marker or alert for the service that may have to go on with the session. Does not block."""
        self._records.keep_note(session.name, note)

    def forget_notes(self, session: RemoteSession) -> None:
        """Remove the session's markers and alerts. Blocks."""
        self._records.forget_notes(session.name)

    def get(self, name: str) -> Any:
        """Return the session called `name`, of whichever service. Raise `UnknownSession` if there is none."""
        return self.find(name) or super().get(name)

    def opened(self, name: str) -> Any:
        """Return the session called `name`. Raise `UnknownSession` if there is none, or it is only being opened."""
        found = self.find(name)
        return found if isinstance(found, ForeignSession) else super().opened(name)

    def find(self, name: str) -> Any:
        """Return the session called `name`, of whichever service, or None."""
        return super().find(name) or self._foreign.get(name) or self._look_up(name)

    def list(self) -> Sequence[Any]:
        """Return all sessions, those of this service first."""
        own = self.own()
        names = {session.name for session in own}
        return [*own, *(one for name, one in sorted(self._foreign.items()) if name not in names)]

    def close(self, name: str, timeout: float = 5.0) -> None:
        """End the session called `name`, of whichever service, and remove it."""
        if name in self._adopting:
            self._adopting.discard(name)
            self._foreign.pop(name, None)
            if super().find(name) is None:  # between two attempts to open it anew
                self._forget(name)
                self._hub.forget(name)
                return
        found = self.find(name)
        if isinstance(found, ForeignSession):
            found.worker.request("DELETE", f"/v1/sessions/{name}")
            self._foreign.pop(name, None)
            return
        super().close(name, timeout)

    def drop(self, session: RemoteSession) -> None:
        """See `RemoteSessions.drop`; the name is free for all services then."""
        super().drop(session)
        if self._register.find(session.name) is None and session.name not in self._adopting:
            self._taken_over.discard(session.name)
            self._foreign.pop(session.name, None)
            if not self._handed_over:
                self._records.release_soon(session.name)

    def hand_over(self) -> None:
        """Leave the sessions to the other services, which open them anew; before `close_all`. Blocks for a moment."""
        self._closing.set()
        self._teller.join()
        self._handed_over = True
        for worker in self.fleet.workers:
            worker.leaving = True  # so that the end of its sessions is not passed on
        for session in self.own():
            session.gone.set()
        self._records.withdraw()

    async def metrics_of_others(self, within: float) -> Sequence[str]:
        """Return the metrics of the other services as text, of those that answer within so many seconds."""
        asked = [service.metrics(within) for id, service in [*self._services.items()] if id in self._alive]
        return [text for text in await asyncio.gather(*asked) if text]

    def close_all(self, timeout: float = 5.0) -> None:
        """End every session of this service; the others go on."""
        super().close_all(timeout)
        self._records.withdraw()

    def release(self) -> None:
        """Close the connections. Call it after `close_all`."""
        self._teller.join()
        self._records.close()

    def _equip(self, session: RemoteSession) -> None:
        """Give a session that was another service's the rules, prefixes and notes that it had there."""
        session.records = self
        record, notes = self._heritage.pop(session.name, ({}, []))
        session.own_rules, session.allowed = record.get("rules"), record.get("allowed")
        session.notes.extend(notes)

    def _has_worker(self) -> bool:
        return self.fleet.ready_worker(self._load) is not None

    def _check_worker(self) -> None:
        """Raise `NoWorkerHere` if this service has no worker for new sessions, and another one has.

        A request is never passed on in a circle: a service passes on only once it has told that it has no worker, and
        only to those that told otherwise since. So each of a chain of services told so later than the one before it.
        """
        if not self._open_here and self._open_elsewhere and not self._has_worker():
            raise NoWorkerHere(self._services[self._open_elsewhere[0]])

    def _look_up(self, name: str) -> ForeignSession | None:
        """Return a session that another service has opened since this one has heard of it, or None."""
        found = self._records.look_up(name)
        if found is None:
            return None
        id, told = found
        for row in told["sessions"]:
            if row["id"] == name:
                session = self._foreign_session(id, told, row)
                self._foreign = {**self._foreign, name: session}
                return session
        return None

    def _free_name(self) -> str:
        taken = {session.name for session in self.list()}
        return next(f"s{n}" for n in range(1, len(taken) + 2) if f"s{n}" not in taken)

    def _claim_name(self, name: str, source: str | None, purpose: str | None) -> int:
        """Note that this service has a session of that name, and return the last incarnation of another service's.

        Raise `OpenElsewhere` if a service that runs has an open session of that name.
        """
        record = self._record(source=source, purpose=purpose)
        try:
            held = self._records.claim(name, record)
            if held is None:
                self._records.delete_notes(name)
                return 0
            before = json.loads(held)
            if before["service"] == self.id:
                return 0
            if before["over"] or not self._records.runs(before["service"]):
                self._records.write(name, record)
                self._records.delete_notes(name)
                return int(before["incarnation"])
        except redis_errors() as error:
            raise Unavailable(f"Redis, which keeps the names of all sessions, does not answer ({error})") from None
        raise OpenElsewhere(f"a session called {name!r} is open at another service here; choose another name")

    def _forget(self, name: str) -> None:
        if not self._handed_over:
            self._records.release(name)

    def _tell(self) -> None:
        """Tell the other services of this one, and learn of them, until the end."""
        problem = ""
        while not self._closing.wait(TELL_EVERY):
            try:
                self._exchange()
                problem = ""
            except redis_errors() as error:
                if str(error) != problem:
                    problem = str(error)
                    log.warning("the other services of the cluster are not known now: %s", problem)

    def _told(self, open_here: bool) -> str:
        """Return what this service says of itself, as JSON; `open_here` is whether it has a worker for new sessions."""
        own = self.own()
        if self._has_worker():
            self._worker_at = time.monotonic()
        told = {
            "address": self._address,
            "sessions": [info_of(session).model_dump(mode="json") for session in own],
            "peers": [session.name for session in own if session.source is None],
            "open": open_here,
            "reads": time.monotonic() - self._worker_at < WITHOUT_WORKER,
        }
        return json.dumps(told)

    def _say(self) -> None:
        self._records.tell(self._told(self._open_here))

    def _exchange(self) -> None:
        own = self.own()
        open_here = self._has_worker()
        alive, records = self._records.exchange(self._told(open_here), [session.name for session in own])
        self._open_here = open_here
        read = {name: json.loads(text) for name, text in records.items()}
        self._write_records(own, read, alive)
        self._adopt_orphans(read, records, alive)
        self._learn(alive, read)
        if not all(told["reads"] for told in alive.values()) and not self.fleet.launcher.has_room():
            self._spare_worker()

    def _spare_worker(self) -> None:
        """End a worker without sessions, if there are several, so that a service without any has room for one."""
        with self._placing:
            workers = [worker for worker in self.fleet.workers if not worker.leaving]
            idle = [worker for worker in workers if self._load(worker) == 0]
            if len(workers) < 2 or not idle:
                return
            idle[-1].leaving = True  # no session is opened there any more
        log.info("a worker without sessions is ended, because another service has none")
        self.fleet.dismiss(idle[-1])

    def _write_records(
        self, own: Sequence[RemoteSession], records: dict[str, Any], alive: dict[str, dict[str, Any]]
    ) -> None:
        """Bring the records of this service's sessions up to date; give up those that another service has by now."""
        for session in own:
            record = records.get(session.name)
            if record is None or record["service"] == self.id:
                if record != self._record_of(session):
                    self._write_record(session)
                continue
            shown_there = [row["id"] for row in alive.get(record["service"], {}).get("sessions", ())]
            if session.name in shown_there and session.name not in self._leaving:
                log.warning("a session is given up here: another service has taken it over")
                self._leaving.add(session.name)
                threading.Thread(target=self._leave, args=(session,), daemon=True).start()

    def _leave(self, session: RemoteSession) -> None:
        """Give up a session that another service has taken over; its subscribers here get the events from there.

        Blocks.
        """
        session.reopening = None
        super().drop(session)  # no event of it is published from here on
        self._taken_over.discard(session.name)
        session.end()
        try:
            self.undo(session)
        finally:
            self._leaving.discard(session.name)

    def _forget_events(self, name: str) -> None:
        """See `RemoteSessions._forget_events`; the subscriptions to a session that is another service's now go on."""
        if name not in self._leaving:
            super()._forget_events(name)

    def _record_of(self, session: RemoteSession) -> dict[str, Any]:
        names = ("source", "purpose", "incarnation", "over", "allowed")
        own: dict[str, Any] = {"rules": session.own_rules, "options": session.options.as_request()}
        own["opened"] = session.opened or session.name in self._adopting  # at the service that it comes from
        return self._record(**{name: getattr(session, name) for name in names}, **own)

    def _record(self, *, incarnation: int = 0, over: bool = False, **more: Any) -> dict[str, Any]:
        """Return the record of a session of this service."""
        empty: dict[str, Any] = {
            "source": None, "purpose": None, "rules": None, "allowed": None, "options": {}, "opened": False,
        }  # fmt: skip
        return {**empty, **more, "service": self.id, "incarnation": incarnation, "over": over}

    def _write_record(self, session: RemoteSession) -> None:
        self._records.write(session.name, self._record_of(session))

    def _foreign_session(self, id: str, told: dict[str, Any], row: dict[str, Any]) -> ForeignSession:
        """Return the session that a service has told of in `row`."""
        service = self._service(id, told)
        info = _INFO.validate_python(row)
        return ForeignSession(info, service, info.id in told["peers"])

    def _service(self, id: str, told: dict[str, Any]) -> OtherService:
        """Return the service that has told this of itself."""
        service = self._services.get(id)
        if service is None or service.address != told["address"]:
            service = self._services[id] = OtherService(told["address"], self._token)
        return service

    def _learn(self, alive: dict[str, Any], records: dict[str, Any]) -> None:
        """Keep what the other services say of their sessions; one whose service has ended stays until it is adopted."""
        foreign: dict[str, ForeignSession] = {}
        self._alive = {*alive}
        for id, told in alive.items():
            self._service(id, told)
            for row in told["sessions"]:
                foreign[row["id"]] = self._foreign_session(id, told, row)
        for name, session in self._foreign.items():
            record = records.get(name)
            if name in foreign or record is None or session.source is None or session.over:
                continue
            if record["service"] != self.id or name in self._adopting:
                foreign[name] = session
        self._open_elsewhere = [id for id, told in sorted(alive.items()) if told["open"]]
        gone = set(self._foreign) - set(foreign)
        self._foreign = foreign
        for name in gone:
            if super().find(name) is None:
                self._hub.forget(name)

    def _adopt_orphans(self, records: dict[str, Any], texts: dict[str, str], alive: dict[str, Any]) -> None:
        """Open the sessions of services that have ended or have no worker, each by the first that claims it."""
        if not self._open_here:
            return
        for name, record in records.items():
            service = record["service"]
            if service == self.id or (service in alive and alive[service]["reads"]):
                continue
            if record["source"] is None or record["over"] or not record["opened"]:
                if service not in alive:
                    self._records.remove(name)  # a peer connects again by itself
                continue
            mine = {**record, "service": self.id}
            if self._records.claim(name, mine, texts[name]) is None:
                self._adopting.add(name)
                self._taken_over.add(name)
                threading.Thread(target=self._adopt, args=(name, record), daemon=True).start()

    def _adopt(self, name: str, record: dict[str, Any]) -> None:
        """Open a session of a service that cannot go on with it, once its worker cannot read it any more."""
        log.info("a session of another service, which has ended or has no worker, is opened anew")
        place, incarnation = super().place, record["incarnation"] + 1
        asked = RequestedOptions(**record.get("options", {}))
        while not self._closing.is_set() and self._records.is_ours(name):
            try:
                self._heritage[name] = record, self._records.notes(name)
                placed = place(name, record["source"], purpose=record["purpose"], incarnation=incarnation, asked=asked)
                try:
                    self._open_in_worker(placed)
                except BaseException:
                    self.drop(placed)  # its record stays while it is adopted, so that the name is not free
                    raise
                metrics.SESSIONS_MOVED.inc()
                break
            except (NameTaken, UnknownSession):  # opened or closed by somebody meanwhile
                if self._register.find(name) is None:
                    self._forget(name)
                break
            except UserError as error:
                log.error("a session of another service could not be opened anew: %s", error)
                self._closing.wait(UNDO_WITHIN)
        self._adopting.discard(name)
