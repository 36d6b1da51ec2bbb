"""The models of a process: the server's own, and those that sessions ask for, loaded when the first of them does."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.loaded_model import LoadedModel
from service.register import TooMany, Unavailable

if TYPE_CHECKING:
    from service.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Beside:
    """Hold a model beside the server's own, which may still be loading, and how many sessions use it."""

    runtime: "Future[Runtime]" = field(default_factory=Future)
    users: int = 0


class Models:
    """Give each session the runtime of its model. At most `limit` are in memory, the server's own among them.

    A model that no session uses stays in memory until another one needs the room. Thread-safe.
    """

    def __init__(self, own: "Runtime", load: "Callable[[str], Runtime]", limit: int) -> None:
        """Begin with the server's own model; `load` returns the runtime of another one, and may take seconds."""
        self._own = own
        self._load = load
        self._limit = limit
        self._lock = threading.Lock()
        self._beside: dict[str, _Beside] = {}
        self._closed = False

    def acquire(self, model: str) -> "Runtime":
        """Return the runtime of `model` for one session, which calls `release` at its end. Blocks while it is loaded.

        Raise `TooMany` if sessions use as many other models as there may be, and what loading raises.
        """
        if model == self._own.model:
            return self._own
        with self._lock:
            if self._closed:
                raise Unavailable("the service is shutting down and opens no session any more")
            found = self._beside.get(model)
            unused = None
            if found is None:
                unused = self._make_room(model)
                found = self._beside[model] = _Beside()
            first = found.users == 0 and not found.runtime.done()
            found.users += 1
        if unused is not None:
            unused.close()
        try:
            if first:
                self._fill(model, found)
            return found.runtime.result()
        except BaseException:
            self.release(model)
            raise

    def release(self, model: str) -> None:
        """Note that one session of `model` is over."""
        with self._lock:
            found = self._beside.get(model)
            if found is not None:
                found.users -= 1
                if found.users == 0 and found.runtime.done() and found.runtime.exception() is not None:
                    del self._beside[model]  # the next session tries to load it again

    def beside(self) -> list[LoadedModel]:
        """Return what is said of the models in memory beside the server's own."""
        with self._lock:
            there = [one.runtime for one in self._beside.values() if one.runtime.done()]
        loaded = [one.result() for one in there if one.exception() is None]
        return [LoadedModel(dict(one.info), one.licences(), one.problems()) for one in loaded]

    def close(self) -> None:
        """End the models beside the server's own. Call it when their sessions are over."""
        with self._lock:
            self._closed = True
            left = [*self._beside.values()]
            self._beside.clear()
        for one in left:
            if one.runtime.done() and one.runtime.exception() is None:
                one.runtime.result().close()

    def _fill(self, model: str, beside: _Beside) -> None:
        """Load the model in this thread and set the result of `beside`, which other sessions of the model wait for."""
        log.info("loading the model %s, which a session asks for", model)
        try:
            loaded = self._load(model)
        except BaseException as error:
            beside.runtime.set_exception(error)
            return
        with self._lock:
            closed = self._closed
        if closed:
            loaded.close()
        beside.runtime.set_result(loaded)

    def _make_room(self, model: str) -> "Runtime | None":
        """Remove a model that no session uses if the limit leaves no room for `model`, and return its runtime.

        Called with the lock held. Raise `TooMany` if sessions use all of them.
        """
        if len(self._beside) + 1 < self._limit:
            return None
        for name, one in self._beside.items():
            if one.users == 0:
                del self._beside[name]
                return one.runtime.result()
        raise too_many(model, self._limit, [self._own.model, *self._beside])


def too_many(model: str, limit: int, used: list[str]) -> TooMany:
    """Return the error for a model that no memory is left for."""
    return TooMany(
        f"{limit} models may be in memory here (--max-models), and sessions use {', '.join(used)}; "
        f"close those of one of them before you ask for {model}"
    )
