"""The register of sessions by name: which names may be taken, how many may be open, which ended ones are listed."""

import itertools
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from models.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
REMEMBERED_NAMES = 4096  # names whose incarnations are remembered; those used longest ago are forgotten first


class NameTaken(UserError):
    """Report a session name that an open session has (HTTP 409)."""


class SessionOver(UserError):
    """Report something that a session cannot do, because it has ended or not begun (HTTP 409)."""


class OpenElsewhere(NameTaken):
    """Report a session name that a session of another service on the same cluster has (HTTP 409)."""


class TooMany(UserError):
    """Report more sessions, clients or markers than are allowed (HTTP 429)."""


class UnknownSession(UserError):
    """Report a session name that is not registered (HTTP 404)."""


class Unavailable(UserError):
    """Report a part of the service that cannot answer now, such as a worker process (HTTP 503)."""


class Entry(Protocol):
    """Describe what a register has to know of the sessions that it holds."""

    @property
    def over(self) -> bool:
        """Return whether the session has ended or failed for good."""


S = TypeVar("S", bound=Entry)


class Register(Generic[S]):
    """Hold the sessions by name; thread-safe.

    An ended entry stays listed until its name is used again, until it is removed, or until `limit` others have ended
    after it.
    """

    def __init__(self, limit: int, forget: Callable[[str], None]) -> None:
        """Allow `limit` open entries at once; `forget` is called with each name that is no longer registered."""
        self._limit = limit
        self._forget = forget
        self._lock = threading.Lock()
        self._entries: dict[str, S] = {}
        self._incarnations: dict[str, int] = {}  # the newest of each name, in the order of use
        self._closed = False

    def add(self, name: str | None, make: Callable[[str, int], S], incarnation: int | None = None) -> S:
        """Register and return `make(name, incarnation)`; without `name`, the first free one of s1, s2, ... is used.

        Without `incarnation`, it is one more than the name's last. A name that an ended entry had passes to the new
        one without a call of `forget`, so that subscriptions go on. Raise `UserError` for a name that cannot be used.
        """
        with self._lock:
            name = self._check(name)
            incarnation = self._count(name, incarnation)
            entry = make(name, incarnation)
            self._entries.pop(name, None)
            self._make_room()
            self._entries[name] = entry
        return entry

    def count(self, name: str) -> int:
        """Return the next incarnation of `name`, for the session of that name when it is opened anew."""
        with self._lock:
            return self._count(name, None)

    def check(self, name: str | None) -> None:
        """Raise what `add` would raise for `name` now."""
        with self._lock:
            self._check(name)

    def get(self, name: str) -> S:
        """Return the entry called `name`. Raise `UnknownSession` if there is none."""
        with self._lock:
            entry = self._entries.get(name)
        if entry is None:
            raise UnknownSession(f"no session is called {name!r}; GET /v1/sessions lists them")
        return entry

    def list(self) -> list[S]:
        """Return all entries in the order of opening."""
        with self._lock:
            return [*self._entries.values()]

    def holds(self, name: str, entry: S) -> bool:
        """Return whether `entry` is still the one registered under `name`."""
        with self._lock:
            return self._entries.get(name) is entry

    def find(self, name: str | None) -> S | None:
        """Return the entry called `name`, or None."""
        with self._lock:
            return self._entries.get(name) if name is not None else None

    def remove(self, name: str, entry: S, previous: S | None = None) -> None:
        """Remove `entry`, unless another one has its name by now; `previous`, if any, is listed again in its place."""
        with self._lock:
            if self._entries.get(name) is not entry:
                return
            if previous is None:
                self._drop(name)
            else:
                self._entries[name] = previous

    def close(self) -> None:
        """Refuse every further `add` with `Unavailable`."""
        with self._lock:
            self._closed = True

    def _check(self, name: str | None) -> str:
        if self._closed:
            raise Unavailable("the service is shutting down and opens no session any more")
        if name is None:
            name = next(f"s{n}" for n in itertools.count(1) if f"s{n}" not in self._entries)
        else:
            check_name(name)
        taken = self._entries.get(name)
        if taken is not None and not taken.over:
            raise NameTaken(f"a session called {name!r} is open; choose another name or close it first")
        if sum(not entry.over for entry in self._entries.values()) >= self._limit:
            raise TooMany(f"{self._limit} sessions are open, as many as this server allows; close one first")
        return name

    def _count(self, name: str, incarnation: int | None) -> int:
        last = self._incarnations.pop(name, 0)  # removed and added again: the name was used just now
        self._incarnations[name] = incarnation or last + 1
        while len(self._incarnations) > REMEMBERED_NAMES:
            del self._incarnations[next(iter(self._incarnations))]
        return self._incarnations[name]

    def _make_room(self) -> None:
        """Remove the oldest ended entries beyond `limit` - 1 of them."""
        ended = [name for name, entry in self._entries.items() if entry.over]
        for name in ended[: max(0, len(ended) - self._limit + 1)]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        del self._entries[name]
        self._forget(name)


def check_name(name: str) -> None:
    """Raise `UserError` for what cannot be a session's name."""
    if not NAME.fullmatch(name):
        raise UserError(f"session name {name[:80]!r} is not made of 1 to 64 letters, digits, _ or -; choose another")


def split_name(spec: str) -> tuple[str | None, str]:
    """Split `[NAME=]SRC` into the name, or None, and the source.

    An "=" after a ":", "/", or "?" is part of an address or path. A name that cannot be used is returned as it is: the
    register refuses it with a sentence of its own.
    """
    name, equals, source = spec.partition("=")
    if equals and not set(name) & set(":/?\\") and not Path(spec).exists():
        return name, source
    return None, spec
