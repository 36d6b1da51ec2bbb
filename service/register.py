"""Which sessions there are, by name: what names may be taken, how many may be open, which ended ones are listed."""

import itertools
import re
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from engines.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class NameTaken(UserError):
    """409."""


class TooMany(UserError):
    """429."""


class UnknownSession(UserError):
    """404."""


class Entry(Protocol):
    """What is registered."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""


S = TypeVar("S", bound=Entry)


class Register(Generic[S]):
    """Thread-safe. An entry that ended by itself stays listed until its name is used again, somebody removes it, or as
    many others have ended after it as may be open at once.
    """

    def __init__(self, limit: int, forget: Callable[[str], None]) -> None:
        """`limit`: entries open at once. `forget` is told the name of one of which nothing more will come."""
        self._limit = limit
        self._forget = forget
        self._lock = threading.Lock()
        self._entries: dict[str, S] = {}

    def add(self, name: str | None, make: Callable[[str], S]) -> S:
        """What `make` makes of the name, or of one made up. Raises `UserError` for a name that cannot be taken."""
        with self._lock:
            name = self._check(name)
            self._make_room(name)
            entry = self._entries[name] = make(name)
        return entry

    def check(self, name: str | None) -> None:
        """Raises what `add` would raise for `name` now."""
        with self._lock:
            self._check(name)

    def get(self, name: str) -> S:
        """Raises `UnknownSession`."""
        with self._lock:
            entry = self._entries.get(name)
        if entry is None:
            raise UnknownSession(f"no session is called {name!r}; GET /v1/sessions lists them")
        return entry

    def list(self) -> list[S]:
        """In the order of opening."""
        with self._lock:
            return [*self._entries.values()]

    def remove(self, name: str, entry: S) -> None:
        """Lists it no more, unless another one has its name by now."""
        with self._lock:
            if self._entries.get(name) is entry:
                self._drop(name)

    def _check(self, name: str | None) -> str:
        if name is None:
            name = next(f"s{n}" for n in itertools.count(1) if f"s{n}" not in self._entries)
        elif not NAME.fullmatch(name):
            raise UserError(
                f"session name {name[:80]!r} is not made of 1 to 64 letters, digits, _ or -; choose another"
            )
        taken = self._entries.get(name)
        if taken is not None and not taken.over:
            raise NameTaken(f"a session called {name!r} is open; choose another name or close it first")
        if sum(not entry.over for entry in self._entries.values()) >= self._limit:
            raise TooMany(f"{self._limit} sessions are open, as many as this server allows; close one first")
        return name

    def _make_room(self, name: str) -> None:
        """Forgets the entry that had the name before, and the oldest of those that ended."""
        ended = [other for other, entry in self._entries.items() if entry.over]
        for other in [name, *ended[: max(0, len(ended) - self._limit + 1)]]:
            if other in self._entries:
                self._drop(other)

    def _drop(self, name: str) -> None:
        del self._entries[name]
        self._forget(name)
