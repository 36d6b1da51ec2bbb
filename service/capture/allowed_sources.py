"""Which sources a caller of the API may open: those that the operator allowed, compared part by part, not as text.

A prefix compared as text lets `rtsp://cam.lab@elsewhere/` pass for `rtsp://cam.lab`, and `file:/clips/../etc` for
`file:/clips`. So scheme, host and port must be equal, and the path must lie below the allowed one.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from models.errors import UserError
from service.capture.open import readings
from service.capture.source import Check
from service.redact import redact

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+", re.IGNORECASE)  # two letters at least: "C:" is a drive
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")  # URL parsers disagree about these
_DEFAULT_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
# What may follow these schemes; anything else might be taken for a path.
_PLAIN = {
    "demo": re.compile(r"(?:\?[A-Za-z0-9=&._-]*)?"),
    "camera": re.compile(r"[A-Za-z0-9_]*(?:\?[A-Za-z0-9=&._-]*)?"),
}


class SourceNotAllowed(UserError):
    """Report a source that the operator does not allow (HTTP 403)."""


def check_source(source: str, allowed: Sequence[str]) -> None:
    """Raise `SourceNotAllowed` unless `source` lies within one of `allowed`.

    Those are such as `demo:`, `camera:`, `camera:0`, `rtsp:`, `https://cams.lab/hall/`, `file:/data/clips/`.
    """
    if any(_within(source, pattern) for pattern in allowed):
        return
    raise SourceNotAllowed(
        f"the source {redact(source)[:200]!r} may not be opened from here (allowed: {', '.join(allowed) or 'none'}); "
        "the operator can change that with --allowed-sources"
    )


def check_of(source: str, allowed: Sequence[str] | None) -> Check | None:
    """Return what raises `SourceNotAllowed` for an address that redirects and playlists of `source` may not lead to.

    None where they may lead to any host: `allowed` is None, which stands for a source of the operator's own, or has all
    of HTTP or RTSP, as `source` is.
    """
    whole = {"rtsp:"} if source.strip().lower().startswith("rtsp") else {"http:", "https:"}
    if allowed is None or whole <= {pattern.lower() for pattern in allowed}:
        return None
    return partial(check_source, allowed=tuple(allowed))


def _within(source: str, pattern: str) -> bool:
    if source != source.strip() or _CONTROL.search(source):
        return False
    scheme, colon, rest = source.partition(":")
    allowed_scheme, allowed_colon, allowed_rest = pattern.partition(":")
    scheme, allowed_scheme = scheme.lower(), allowed_scheme.lower()
    if not (colon and allowed_colon and scheme == allowed_scheme and _SCHEME.fullmatch(scheme)):
        return False
    if scheme in _PLAIN:
        return _PLAIN[scheme].fullmatch(rest) is not None and allowed_rest in ("", rest.partition("?")[0])
    if scheme == "file":
        # A "?" begins the options, unless there is a file of that very name: all readings must lie within.
        return not allowed_rest or all(
            reading.resolve().is_relative_to(_path(allowed_rest)) for reading in readings(rest)
        )
    return _url_within(scheme, source, pattern)


def _url_within(scheme: str, source: str, pattern: str) -> bool:
    try:
        given, base = urlsplit(source), urlsplit(pattern)
        ports = [parts.port or _DEFAULT_PORTS.get(scheme) for parts in (given, base)]
    except ValueError:
        return False
    if not given.hostname:
        return False
    if not base.netloc:  # "rtsp:" allows every host
        return True
    path, base_path = unquote(given.path), base.path.rstrip("/")
    climbs = ".." in path.split("/") or "%" in path or _CONTROL.search(path)
    below = not base_path or path == base_path or path.startswith(base_path + "/")
    return given.hostname == base.hostname and ports[0] == ports[1] and not climbs and below


def _path(rest: str) -> Path:
    """Return the real file behind what follows `file:`, with links and dots resolved."""
    return Path(unquote(rest[2:]) if rest.startswith("//") else rest).expanduser().resolve()
