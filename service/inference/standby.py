"""Which engine runs the model now, and which one takes over when it fails.

After the engine that was asked for come those of the same backend in finer precisions, and after another backend's
engines those of OpenVINO. Each is compiled when it is needed, in a thread of its own. Where none is left, the first is
tried again, after waits that double from a second to ten minutes.
"""

import logging
import threading
import time
from collections.abc import Callable

from engines.engine import Engine
from engines.load import LoadedEngine
from models.errors import UserError

log = logging.getLogger(__name__)

FINER = ("int8", "bf16", "fp16", "fp32")  # each computes more exactly what the network does than those before it
FIRST_WAIT, LONGEST_WAIT = 1.0, 600.0  # s
MOST_STUCK = 4  # calls that still hang: each holds a compiled network, and a further one might exhaust the memory

Reload = Callable[[str], LoadedEngine]  # compiles the engine BACKEND:PRECISION; raises `UserError`


class Standby:
    """Hold the engine that runs now, or ran last, and replace it when it fails."""

    def __init__(
        self,
        loaded: LoadedEngine,
        reload: Reload,
        use: Callable[[LoadedEngine], None],
        stuck: Callable[[], int],
        first_wait: float = FIRST_WAIT,
    ) -> None:
        """Begin with an engine that runs.

        Args:
            loaded: That engine, and its weights.
            reload: Compiles another engine by its name.
            use: Is called with each new engine, to run the model on it.
            stuck: Returns how many engine calls still hang.
            first_wait: Seconds before the first engine is tried again, when no other is left.
        """
        self.loaded = loaded
        self.problem: str | None = None  # a sentence while nothing runs
        self._reload = reload
        self._use = use
        self._stuck = stuck
        self._first = name_of(loaded.engine)
        self._left = following(loaded.engine)
        self._first_wait = self._wait = first_wait
        self._since = time.monotonic()
        self._over = threading.Event()
        self._search: threading.Thread | None = None

    @property
    def searching(self) -> bool:
        """Return whether an engine is being compiled, or waited for."""
        return self._search is not None and self._search.is_alive()

    def failed(self, why: str) -> None:
        """Give the engine up for the reason `why`: compile the next one, or try the first again later."""
        self.problem = f"{name_of(self.loaded.engine)} was given up, and no other engine runs yet: {why}"
        if time.monotonic() - self._since > LONGEST_WAIT:
            self._wait = self._first_wait
        self._search = threading.Thread(target=self._replace, args=(why,), name="standby", daemon=True)
        self._search.start()

    def close(self) -> None:
        """Compile nothing any more."""
        self._over.set()

    def _replace(self, why: str) -> None:
        failed, model = name_of(self.loaded.engine), self.loaded.weights.model
        while not self._over.is_set():
            if self._left:
                name = self._left.pop(0)
                log.error("%s of %s is given up, %s is next: %s", failed, model, name, why)
            else:
                name, wait = self._first, self._wait
                self._wait = min(2 * wait, LONGEST_WAIT)
                log.error(
                    "%s of %s is given up, no other is left, %s is tried in %g s: %s", failed, model, name, wait, why
                )
                if self._over.wait(wait):
                    return
                if self._stuck() >= MOST_STUCK:
                    why = f"{self._stuck()} calls hang still"
                    continue
            try:
                loaded = self._reload(name)
            except UserError as error:
                failed, why = name, str(error)
            except Exception as error:
                # The outermost frame of this thread: an engine that cannot be compiled must not end the search.
                log.exception("%s could not be compiled", name)
                failed, why = name, f"{type(error).__name__}: {error}"
            else:
                self.loaded, self._since, self.problem = loaded, time.monotonic(), None
                self._left = [name for name in self._left if name in following(loaded.engine)]
                log.warning("%s is run by %s from now on", model, name_of(loaded.engine))
                self._use(loaded)
                return


def name_of(engine: Engine) -> str:
    """Return the engine's name, BACKEND:PRECISION."""
    return f"{engine.name}:{engine.precision}"


def following(engine: Engine) -> list[str]:
    """Return the names of the engines that take over from `engine`, in order; not all need exist on this machine."""
    finer = FINER[FINER.index(engine.precision) + 1 :] if engine.precision in FINER else ()
    own = [f"{engine.name}:{precision}" for precision in finer if engine.name != "openvino" or precision != "fp16"]
    return own if engine.name == "openvino" else [*own, "openvino:int8", "openvino:bf16", "openvino:fp32"]
