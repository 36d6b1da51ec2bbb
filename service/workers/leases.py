"""Leases of sessions: a session is read by one worker at a time, also where a node is cut off and comes back.

The service in front takes the lease of a session for a worker before the worker opens the source. The worker's node
renews it once a second; if it cannot, and has lost the service in front as well, it ends the session within
`GIVE_UP_AFTER` seconds (`service.workers.line`), and `LEASE` seconds after the last renewal another worker may have it.
Leases are kept in Redis, where there is one, else in an actor that outlives the services (`service.workers.ray_host`).
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from models.errors import UserError

# A session must be read again within 10 s of the loss of its node. The next renewal would have been due within 1 s, and
# opening the session anew takes up to another second, which leaves 8 s for the lease.
LEASE = 8.0  # s
RENEW_EVERY = 1.0  # s
_KEY = "affectstream:lease:"


class LeasesAway(UserError):
    """Report that whatever keeps the leases does not answer."""


class Leases(Protocol):
    """Describe what keeps leases. All methods block; they raise `LeasesAway` where it does not answer."""

    def take(self, session: str, holder: str, instead_of: str) -> bool:
        """Give the lease to `holder` if it is free or held by `holder` or `instead_of`; return whether it was given."""

    def renew(self, sessions: list[str], holder: str) -> list[str]:
        """Prolong the leases of `holder`, and return those sessions that another one holds by now."""


class NoLeases:
    """Grant every lease: where all workers are child processes of one service, it knows itself when they have ended."""

    def take(self, session: str, holder: str, instead_of: str) -> bool:
        """Return True: every lease is granted."""
        return True

    def renew(self, sessions: list[str], holder: str) -> list[str]:
        """Return an empty list: no other worker holds a lease."""
        return []


class LeaseTable:
    """Keep leases in this process. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic, free_from: float = 0.0) -> None:
        """Give none before the moment `free_from` of the clock `now`, in seconds, except to those that renew theirs."""
        self._now = now
        self._free_from = free_from
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, float]] = {}  # session -> holder, and s when the lease ends

    def take(self, session: str, holder: str, instead_of: str) -> bool:
        """See `Leases`."""
        with self._lock:
            held_by = self._holder(session)
            if held_by not in (None, holder, instead_of) or (held_by is None and self._now() < self._free_from):
                return False
            self._held[session] = holder, self._now() + LEASE
            return True

    def renew(self, sessions: list[str], holder: str) -> list[str]:
        """See `Leases`."""
        lost = []
        with self._lock:
            for session in sessions:
                if self._holder(session) in (None, holder):
                    self._held[session] = holder, self._now() + LEASE
                else:
                    lost.append(session)
        return lost

    def _holder(self, session: str) -> str | None:
        holder, until = self._held.get(session, (None, 0.0))
        if holder is not None and self._now() >= until:
            del self._held[session]
            return None
        return holder


class RedisLeases:
    """Keep leases as keys of Redis that expire (`affectstream:lease:SESSION`)."""

    _TAKE = """
        local holder = redis.call('GET', KEYS[1])
        if holder and holder ~= ARGV[1] and holder ~= ARGV[2] then return 0 end
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
        return 1"""

    def __init__(self, url: str) -> None:
        """Connect when first used."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client: Any = Redis.from_url(
            url, decode_responses=True, socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )
        self._client = client
        self._take = client.register_script(self._TAKE)

    def take(self, session: str, holder: str, instead_of: str) -> bool:
        """See `Leases`."""
        from redis.exceptions import RedisError

        try:
            return bool(self._take(keys=[_KEY + session], args=[holder, instead_of, int(LEASE * 1e3)]))
        except (RedisError, OSError) as error:
            raise LeasesAway(f"Redis, which keeps the leases of sessions, does not answer ({error})") from None

    def renew(self, sessions: list[str], holder: str) -> list[str]:
        """See `Leases`."""
        return [session for session in sessions if not self.take(session, holder, holder)]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
