"""Who may talk to the service. Any web page can reach loopback, so a browser's requests must come from the service's
own pages, and anyone else who reaches the port must know the token.

- Host: only names that are this machine's. A page whose name was rebound to 127.0.0.1 still sends its own name.
- Origin: only the service's own, or one of `allowed_origins`; for WebSockets too, which know no same-origin policy.
- Token: `Authorization: Bearer`, or the cookie that `/login` gives; compared in constant time.
"""

import hashlib
import hmac
import ipaddress
import json
import re
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from engines.errors import UserError
from service.settings import Settings

COOKIE = "affectstream"
OPEN_PATHS = frozenset({"/healthz", "/login"})  # reachable without the token
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::(?P<port>\d{1,5}))?", re.IGNORECASE)
_SHOWN = 80  # characters of a refused value that are told


class OriginGuard:
    """Refuses requests and WebSockets that name a foreign host or come from a foreign web page."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Raises `UserError` for an allowed origin that is none."""
        self.app = app
        self._origins = {_origin(text) for text in settings.allowed_origins}
        self._names = {"localhost", *(name for _, name, _ in self._origins)}
        self._any_address = settings.host in ("0.0.0.0", "::")  # noqa: S104 # reachable under every address it has
        if self._any_address:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own}.local"}
        else:
            self._names.add(settings.host.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self._objection(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self.app(scope, receive, send)
        else:
            await refuse(scope, receive, send, 403, reason)

    def _objection(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        match = _HOST.fullmatch(hosts[0].strip()) if len(hosts) == 1 else None
        if match is None:
            return "the request names no host, or an unreadable one; send one Host header"
        name = (match["v6"] or match["name"]).lower().rstrip(".")
        if not self._known(name):
            return (
                f"host {name[:_SHOWN]!r} is not a name of this server; if it should be, add its origin to "
                "--allowed-origins"
            )
        origins = headers.getlist("origin")
        if not origins:
            return self._fetched_by_a_foreign_page(scope, headers)
        try:
            scheme, *place = origin = _origin(origins[0])
        except UserError:
            scheme, place, origin = "", [], ("", "", 0)
        own = [name, int(match["port"] or DEFAULT_PORTS.get(scheme, 0))]
        if len(origins) == 1 and (origin in self._origins or place == own):
            return None
        return (
            f"origin {origins[0][:_SHOWN]!r} is not this server's own; if it may call it, add it to --allowed-origins"
        )

    def _known(self, name: str) -> bool:
        if name in self._names:
            return True
        try:  # a number cannot be rebound to another machine, a name can
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address or address.is_loopback

    def _fetched_by_a_foreign_page(self, scope: Scope, headers: Headers) -> str | None:
        # Browsers send no Origin with images and the like, but say this; following a link to a page here is fine.
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return None
        if scope.get("method") in ("GET", "HEAD") and headers.get("sec-fetch-dest") == "document":
            return None
        return "another web page may not load this; open it by itself, or add that page's origin to --allowed-origins"


class TokenGuard:
    """Refuses whatever does not carry the token; passes everything where none is set."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._token = settings.token.get_secret_value() if settings.token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._admits(scope):
            await self.app(scope, receive, send)
        elif self._wants_page(scope):
            await refuse(scope, receive, send, 303, "log in first", {"location": "/login"})
        else:
            sentence = "the token is missing or wrong; send it as Authorization: Bearer, or log in at /login"
            await refuse(scope, receive, send, 401, sentence, {"www-authenticate": "Bearer"})

    def _admits(self, scope: Scope) -> bool:
        if self._token is None or (scope["type"] == "http" and scope["path"] in OPEN_PATHS):
            return True
        headers = Headers(scope=scope)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(given.strip(), self._token):
            return True
        return any(
            same(cookie_parser(line).get(COOKIE, ""), cookie_for(self._token)) for line in headers.getlist("cookie")
        )

    def _wants_page(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        return (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and "text/html" in headers.get("accept", "")
            and "authorization" not in headers
        )


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def cookie_for(token: str) -> str:
    """What the login cookie holds: proof of the token, from which it cannot be had back."""
    return hmac.new(token.encode(), b"affectstream login", hashlib.sha256).hexdigest()


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, sentence: str, headers: dict[str, str] | None = None
) -> None:
    """Answers `{"detail": sentence}`, to a WebSocket's opening too."""
    body = json.dumps({"detail": sentence}).encode()
    lines = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in lines.items()]
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": sentence})
            return
        prefix = "websocket.http.response"
    else:
        prefix = "http.response"
    await send({"type": f"{prefix}.start", "status": status, "headers": raw})
    await send({"type": f"{prefix}.body", "body": body})


def _origin(text: str) -> tuple[str, str, int]:
    """(scheme, host, port) of a web origin. Raises `UserError`."""
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        parts, port = urlsplit(""), 0
    bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or "*" in text or not bare:
        raise UserError(f"allowed origin {text[:_SHOWN]!r} is none; write it like https://lab.example:8443")
    return parts.scheme, parts.hostname.rstrip("."), port
