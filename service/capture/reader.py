"""The thread that moves the items of one source into an inbox."""

import logging
import threading

from models.errors import UserError
from service import metrics
from service.capture.inbox import Inbox
from service.capture.media import Frame, State, StateChange
from service.capture.source import Source
from service.logs import SESSION
from service.redact import redact_text, traced

log = logging.getLogger(__name__)

_FINAL = (State.ENDED, State.FAILED)


class SourceReader:
    """Run `source.read` in a thread of its own until the source ends or `stop` is called.

    The last thing it puts into the inbox is always a state change to ended or failed.
    """

    def __init__(self, source: Source, inbox: Inbox, session: str = "") -> None:
        """Start nothing yet; `session` is the name that log lines are marked with."""
        self._session = session
        self._source = source
        self._inbox = inbox
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture {source.label}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """Ask the source to end, wait `timeout` seconds at most, and return whether the thread has ended."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        SESSION.set(self._session)
        last: State | None = None
        captured = metrics.FRAMES.labels("capture")
        try:
            for item in self._source.read(self._stop):
                self._inbox.put(item)
                if isinstance(item, Frame):
                    captured.inc()
                elif isinstance(item, StateChange):
                    last = item.state
        except UserError as error:
            last = State.FAILED
            self._inbox.put(StateChange(State.FAILED, redact_text(str(error))))
        except Exception as error:  # the thread's outermost frame
            log.error("source %s broke: %s", self._source.label, traced(error))
            last = State.FAILED
            detail = f"Reading the source broke ({type(error).__name__}); the log tells where"
            self._inbox.put(StateChange(State.FAILED, detail))
        if last not in _FINAL:
            self._inbox.put(StateChange(State.ENDED, "Closed" if self._stop.is_set() else "The source ended"))
