"""Addresses without their secrets. Every address that reaches a log, event, API answer or metric goes through here."""

import re

_MASK = "***"
# User name and password: up to the last "@" of the authority. Where a colon makes a password possible, up to the last
# "@" of all, because passwords are often left unquoted with "/", "?" or "#" in them.
_USERINFO = re.compile(r"(?<=//)(?:[^/?#\s]*:\S*|[^/?#\s]*)@")
_SECRET_VALUE = re.compile(
    r"([?&;#][^=&;#\s]*(?:pass|pwd|secret|token|key|sig|auth|user|login|cred)[^=&;#\s]*=)[^&;#\s]*", re.IGNORECASE
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)


def redact(url: str) -> str:
    """`url` with user name, password and secret-looking query values masked; anything else is returned as it is.

    `redis://:hunter2@cache:6379/0` becomes `redis://***@cache:6379/0`. Never raises.
    """
    return _SECRET_VALUE.sub(rf"\1{_MASK}", _USERINFO.sub(f"{_MASK}@", url, count=1))


def redact_text(text: str) -> str:
    """`text` with every address in it redacted: for messages of libraries, which like to quote addresses."""
    return _ADDRESS.sub(lambda match: redact(match.group()), text)
