"""The audit trail: one line of JSON for each start, stop, export and erasure, without personal data.

A session appears under a pseudonym, because its name may be a person's. Within one run of the service the same name has
the same pseudonym; nobody can compute either from the other afterwards, because the key is never stored.
"""

import hashlib
import hmac
import json
import logging
import secrets
from typing import Literal

LOGGER = "affectstream.audit"
Action = Literal["start", "stop", "export", "erase"]

_log = logging.getLogger(LOGGER)
_KEY = secrets.token_bytes(32)


def write(action: Action, session: str | None = None, **facts: str | int | float | None) -> None:
    """Log that `action` was done; `session` is the session's name, of which only the pseudonym is written.

    The caller gives no fact that says something about a person: no name, no address, no text of a purpose.
    """
    entry: dict[str, str | int | float | None] = {"action": action}
    if session is not None:
        entry["session"] = pseudonym(session)
    _log.info("%s", json.dumps(entry | facts))


def pseudonym(session: str) -> str:
    """Return the pseudonym of the session `session` in this process's audit trail: eight hexadecimal digits."""
    return hmac.new(_KEY, session.encode(), hashlib.sha256).hexdigest()[:8]


def kind_of(source: str) -> str:
    """Return the kind of a source, such as "rtsp" or "camera", without its address; "file" for a bare path."""
    kind, colon, _ = source.strip().lower().partition(":")
    return kind if colon and len(kind) > 1 and kind.isalpha() else "file"
