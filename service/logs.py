"""The log: one line an entry on the error stream, with the session that it is about, as text or as a JSON object."""

import json
import logging
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO

from service import audit
from service.redact import redact_text

SESSION: ContextVar[str] = ContextVar("session", default="")  # set in the threads that work for one session alone
NAME = "affectstream"  # what begins a sentence of the command line
Form = Literal["text", "json"]

log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Write a record as one JSON object: time, level, logger, message, and session and exception where there is one.

    Messages and tracebacks of libraries may quote addresses, which are redacted.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact_text(record.getMessage()),
        }
        if session := _session_of(record):
            entry["session"] = session
        if record.exc_info:
            entry["exception"] = redact_text(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def set_up(level: str | int, stream: TextIO | None = None, form: Form = "text") -> None:
    """Write the log to `stream`, or to the error stream, from `level` on."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(add_session)
    logging.basicConfig(level=level, handlers=[handler])
    _format(handler, form)


def set_form(form: Form) -> None:
    """Write the log in this form from now on; as JSON, warnings and what threads raise are entries too."""
    for handler in logging.getLogger().handlers:
        if add_session in handler.filters:
            _format(handler, form)


def form() -> Form:
    """Return the form in which this process writes its log."""
    as_json = any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)
    return "json" if as_json else "text"


def say(sentence: str) -> None:
    """Print a sentence of the command line on the error stream, as an entry of the log where that is JSON."""
    if form() == "json":
        logging.getLogger(NAME).error("%s", sentence)
    else:
        print(f"{NAME}: {sentence}", file=sys.stderr)


def _format(handler: logging.Handler, form: Form) -> None:
    if form == "text":
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s%(session)s: %(message)s"))
        return
    handler.setFormatter(JsonFormatter())
    logging.captureWarnings(True)
    sys.excepthook = _log_exception
    threading.excepthook = lambda args: _log_exception(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.error("an exception was not caught", exc_info=(kind, error, trace))


def add_session(record: logging.LogRecord) -> bool:
    """Add the field `session` to `record`, empty or such as ` [desk]`; return True, because every record is written."""
    session = _session_of(record)
    record.session = f" [{session}]" if session else ""
    return True


def _session_of(record: logging.LogRecord) -> str:
    """Return the session that a record is about; the audit trail has its pseudonym alone."""
    return "" if record.name == audit.LOGGER else SESSION.get()
