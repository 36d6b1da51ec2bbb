"""What the services of a cluster keep in Redis of themselves and of their sessions.

Each service writes once a second who it is and what its sessions are (`affectstream:service:ID`, which expires), and
keeps a record of each session that it opened (a field of `affectstream:sessions`), with its rules; markers and alerts
are a list (`affectstream:notes:SESSION`). `service.workers.shared` decides what follows from them.
"""

import contextlib
import json
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from service.history import NOTES, Note

TELL_EVERY = 1.0  # s
SERVICE_LIVES = 4.0  # s after its last message in which a service counts as running
RECORDS_LIVE = 3600  # s that the records outlive the last service; they hold sources, maybe with credentials
LOOK_UP_WITHIN = 0.5  # s that Redis may take to say whether another service has opened a session just now
_SERVICE, _SERVICES, _RECORDS = "affectstream:service:", "affectstream:services", "affectstream:sessions"
_NOTES = "affectstream:notes:"
_CLAIM = """
    local held = redis.call('HGET', KEYS[1], ARGV[1])
    if held and held ~= ARGV[3] then return held end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    return false"""
_RELEASE = """
    local held = redis.call('HGET', KEYS[1], ARGV[1])
    if held and cjson.decode(held)['service'] == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end"""


def redis_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a Redis that does not answer."""
    from redis.exceptions import RedisError

    return RedisError, OSError


class Records:
    """Read and write them for the service `id`. Thread-safe; a method that blocks may raise `redis_errors`."""

    def __init__(self, url: str, id: str) -> None:
        """Connect when first used."""
        from redis import Redis

        self._id = id
        self._redis: Any = Redis.from_url(url, decode_responses=True, socket_timeout=2.0)
        self._quick: Any = Redis.from_url(
            url, decode_responses=True, socket_timeout=LOOK_UP_WITHIN, socket_connect_timeout=LOOK_UP_WITHIN
        )
        self._not_before = 0.0  # s, monotonic: when Redis may be asked again after it gave no answer
        self._writer = ThreadPoolExecutor(1, "records")  # writes notes, and removes them, in order
        self._claim = self._redis.register_script(_CLAIM)
        self._release = self._redis.register_script(_RELEASE)

    def tell(self, told: str) -> None:
        """Write what the service says of itself. Blocks."""
        self._redis.set(_SERVICE + self._id, told, px=int(SERVICE_LIVES * 1e3))

    def exchange(self, told: str, sessions: Collection[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Write what the service says of itself, and keep all from expiring; `sessions` are its own. Blocks.

        Return what the other services that run say of themselves, by their ids, and the text of each record.
        """
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in sessions:
                pipeline.expire(_NOTES + name, RECORDS_LIVE)
            pipeline.set(_SERVICE + self._id, told, px=int(SERVICE_LIVES * 1e3))
            pipeline.sadd(_SERVICES, self._id)
            pipeline.smembers(_SERVICES)
            pipeline.hgetall(_RECORDS)
            pipeline.expire(_RECORDS, RECORDS_LIVE)
            *_, ids, records, _ = pipeline.execute()
        others = sorted(set(ids) - {self._id})
        found = dict(zip(others, self._redis.mget([_SERVICE + id for id in others]) if others else [], strict=True))
        alive = {id: json.loads(text) for id, text in found.items() if text is not None}
        for gone in set(others) - set(alive):
            self._redis.srem(_SERVICES, gone)
        return alive, records

    def withdraw(self) -> None:
        """Tell the other services that this one has ended. Blocks; does nothing if Redis does not answer."""
        with contextlib.suppress(*redis_errors()):
            self._redis.delete(_SERVICE + self._id)
            self._redis.srem(_SERVICES, self._id)

    def runs(self, service: str) -> bool:
        """Return whether the service of that id has said something within `SERVICE_LIVES` seconds. Blocks."""
        return bool(self._redis.exists(_SERVICE + service))

    def look_up(self, session: str) -> tuple[str, dict[str, Any]] | None:
        """Return the id of the other service that has a session, and what it says of itself; None if there is none.

        Blocks for little more than `LOOK_UP_WITHIN` seconds; None if Redis does not answer.
        """
        if time.monotonic() < self._not_before:
            return None
        try:
            id = json.loads(self._quick.hget(_RECORDS, session) or "{}").get("service", self._id)
            told = (id != self._id and self._quick.get(_SERVICE + id)) or None
        except redis_errors():
            self._not_before = time.monotonic() + TELL_EVERY
            return None
        return None if told is None else (id, json.loads(told))

    def claim(self, session: str, record: dict[str, Any], instead_of: str = "") -> str | None:
        """Write the record of a session if there is none, or the text `instead_of`; else return its text. Blocks."""
        held: str | None = self._claim(keys=[_RECORDS], args=[session, json.dumps(record), instead_of])
        return held

    def write(self, session: str, record: dict[str, Any]) -> None:
        """Write the record of a session. Blocks."""
        self._redis.hset(_RECORDS, session, json.dumps(record))

    def remove(self, session: str) -> None:
        """Remove the record of a session. Blocks."""
        self._redis.hdel(_RECORDS, session)

    def is_ours(self, session: str) -> bool:
        """Return whether the record of a session names this service; also where Redis does not answer. Blocks."""
        try:
            return bool(json.loads(self._redis.hget(_RECORDS, session) or "{}").get("service") == self._id)
        except redis_errors():
            return True

    def release(self, session: str) -> None:
        """Remove the record and notes of a session of this service. Blocks; does nothing if Redis does not answer."""
        with contextlib.suppress(*redis_errors()):
            self._release(keys=[_RECORDS], args=[session, self._id])
            if not self._redis.hexists(_RECORDS, session):
                self.delete_notes(session)

    def release_soon(self, session: str) -> None:
        """Do as `release`, after the notes that are being written. Does not block."""
        with contextlib.suppress(RuntimeError):  # the service is about to end
            self._writer.submit(self.release, session)

    def keep_note(self, session: str, note: Note) -> None:
        """Write a marker or alert of a session. Does not block."""

        def write() -> None:
            with contextlib.suppress(*redis_errors()), self._redis.pipeline() as pipeline:
                pipeline.rpush(_NOTES + session, json.dumps(asdict(note)))
                pipeline.ltrim(_NOTES + session, -NOTES, -1)
                pipeline.expire(_NOTES + session, RECORDS_LIVE)
                pipeline.execute()

        with contextlib.suppress(RuntimeError):  # the service is about to end
            self._writer.submit(write)

    def notes(self, session: str) -> Sequence[Note]:
        """Return the markers and alerts that are kept of a session; none if Redis does not answer. Blocks."""
        try:
            return [Note(**json.loads(text)) for text in self._redis.lrange(_NOTES + session, 0, -1)]
        except redis_errors():
            return []

    def delete_notes(self, session: str) -> None:
        """Remove the markers and alerts of a session. Blocks; does nothing if Redis does not answer."""
        with contextlib.suppress(*redis_errors()):
            self._redis.delete(_NOTES + session)

    def forget_notes(self, session: str) -> None:
        """Do as `delete_notes`, after the notes that are being written. Blocks."""
        with contextlib.suppress(RuntimeError):
            self._writer.submit(self.delete_notes, session).result()

    def close(self) -> None:
        """Write what is left, and close the connections."""
        self._writer.shutdown()
        self._redis.close()
        self._quick.close()
