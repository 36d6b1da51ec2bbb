"""Who may use the service.

Any web page can reach loopback, so a browser's requests must come from the service's own pages, and everybody else who
reaches the port must know the token.

- Host: only names of this machine. A page whose name was rebound to 127.0.0.1 still sends its own name.
- Origin: only the service's own, or one of `allowed_origins`; for WebSockets too, which have no same-origin policy.
- Token: `Authorization: Bearer`, or the cookie that `/login` gives; compared in constant time, and not at all where an
  address has sent too many wrong ones within a minute. A ticket (`service.web.tickets`) stands for it once. A token's
  role decides what it opens (`service.web.access`).
"""

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import UserError
from service.roles import Role, RoleNeeded
from service.settings import Settings
from service.web.access import OWN_SESSIONS, ROLE, Owners, leads_nowhere, need_of
from service.web.connections import HEALTH_PATHS
from service.web.prefix import route_path
from service.web.refusal import refuse
from service.web.tickets import REDEEMED
from service.web.tries import ELSEWHERE, Tries

COOKIE = "affectstream"
OPEN_PATHS = frozenset({"/client.js", "/healthz", "/login", "/notice"})  # reachable without the token
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::(?P<port>\d{1,5}))?", re.IGNORECASE)
_SHOWN = 80  # characters of a refused value that are shown


class OriginGuard:
    """Refuse requests and WebSockets that name a foreign host or come from a foreign web page (HTTP 403)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Guard `app`. Raise `UserError` for an allowed origin that cannot be one."""
        self.app = app
        self._origins = {origin_of(text) for text in settings.allowed_origins}
        self._names = {"localhost", *(name for _, name, _ in self._origins)}
        self._framed = bool(settings.frame_ancestors)
        self._any_address = settings.host in ("0.0.0.0", "::")  # noqa: S104 # reachable under every address it has
        if self._any_address:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own}.local"}
        else:
            self._names.add(settings.host.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        reason = self._objection(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self.app(scope, receive, send)
        else:
            await refuse(scope, receive, send, 403, reason)

    def _objection(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if not hosts and scope.get("http_version") == "1.0" and route_path(scope) in HEALTH_PATHS:
            return None  # a load balancer's health check: browsers always name the host
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
            scheme, *place = origin = origin_of(origins[0])
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
        try:  # an address cannot be rebound to another machine, a name can
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address or address.is_loopback

    def _fetched_by_a_foreign_page(self, scope: Scope, headers: Headers) -> str | None:
        # Browsers send no Origin with images and the like, but say this; following a link to a page here is fine.
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin") or scope.get(REDEEMED):
            return None
        # A browser compares the page around a frame with the policy's frame-ancestors itself.
        pages = ("document", "iframe", "frame") if self._framed else ("document",)
        if scope.get("method") in ("GET", "HEAD") and headers.get("sec-fetch-dest") in pages:
            return None
        return "another web page may not load this; open it by itself, or add that page's origin to --allowed-origins"


class TokenGuard:
    """Refuse requests without a token (HTTP 401) or with a role that is too low (403); if none is set, pass on all."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Guard `app` with the tokens of `settings`."""
        self.app = app
        self._holders = Holders(settings)
        self._owners = Owners()
        self._tries = Tries(ELSEWHERE * settings.max_logins_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401, 403, 429, or for a browser's page 303 to the login."""
        if scope["type"] not in ("http", "websocket") or self._open(scope):
            await self.app(scope, receive, send)
            return
        if not self._holders or REDEEMED in scope:
            await self._let_in(Holder("", scope.get(REDEEMED, Role.MANAGE)), scope, receive, send)
            return
        given = _tokens(scope)
        client = client_of(scope)
        wait = self._tries.wait(client) if given and not self._tries.trusts(client) else 0.0
        if wait:
            await refuse(scope, receive, send, 429, too_many_tries(wait), {"retry-after": str(ceil(wait))})
        elif (holder := self._holders.find(given.bearer, given.cookies)) is not None:
            self._tries.right(client)
            await self._let_in(holder, scope, receive, send)
        elif self._wants_page(scope):
            await refuse(scope, receive, send, 303, "log in first", {"location": f"{scope.get('root_path', '')}/login"})
        else:
            if given:
                self._tries.wrong(client)
            sentence = "the token is missing or wrong; send it as Authorization: Bearer, or log in at /login"
            await refuse(scope, receive, send, 401, sentence, {"www-authenticate": "Bearer"})

    async def _let_in(self, holder: "Holder", scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if the holder's role allows it, else answer 403."""
        need, session = need_of(scope.get("method", "GET"), route_path(scope))
        own = need.own and holder.role >= Role.SEND and self._owners.owns(holder.key, session)
        # A path without a route is not found for any role: naming one would make the client look for a token in vain.
        if holder.role < need.role and not own and not leads_nowhere(scope):
            also = " or the token that opened this session" if need.own else ""
            sentence = (
                f"this needs a token of the role {need.role.label}{also}, and the one that was sent has the role "
                f"{holder.role.label}; ask whoever runs the service for one"
            )
            await refuse(scope, receive, send, 403, sentence, kind=RoleNeeded)
            return
        scope[ROLE] = holder.role
        scope[OWN_SESSIONS] = partial(self._owners.owned, holder.key)

        async def send_and_note(message: Message) -> None:
            self._owners.note(holder.key, scope, message)
            await send(message)

        noted = scope["type"] == "http" and scope["method"] == "POST"
        await self.app(scope, receive, send_and_note if noted else send)

    def _open(self, scope: Scope) -> bool:
        return scope["type"] == "http" and route_path(scope) in OPEN_PATHS

    def _wants_page(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        return (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and "text/html" in headers.get("accept", "")
            and "authorization" not in headers
        )


@dataclass(frozen=True)
class Holder:
    """Identify the holder of a token by a proof, from which the token cannot be computed, and hold the token's role."""

    key: str
    role: Role


class Holders:
    """Hold the tokens that are accepted, with their roles."""

    def __init__(self, settings: Settings) -> None:
        """Take the tokens of `settings`."""
        self._holders = {token: Holder(cookie_for(token), role) for token, role in settings.roles().items()}

    def __len__(self) -> int:
        """Return how many tokens there are; 0 where everybody may do everything."""
        return len(self._holders)

    def find(self, tokens: Sequence[str], cookies: Sequence[str] = ()) -> Holder | None:
        """Return the holder with the highest role of those tokens and login cookies, None where none is right."""
        found = [
            holder
            for token, holder in self._holders.items()
            if any([*(same(one, token) for one in tokens), *(same(one, holder.key) for one in cookies)])
        ]
        return max(found, key=lambda holder: holder.role, default=None)


@dataclass(frozen=True)
class _Tokens:
    """Hold the tokens and login cookies that came with a request."""

    bearer: list[str]
    cookies: list[str]

    def __bool__(self) -> bool:
        return bool(self.bearer or self.cookies)


def _tokens(scope: Scope) -> _Tokens:
    headers = Headers(scope=scope)
    scheme, _, given = headers.get("authorization", "").partition(" ")
    bearer = [given.strip()] if scheme.lower() == "bearer" else []
    cookies = [cookie_parser(line).get(COOKIE) for line in headers.getlist("cookie")]
    return _Tokens(bearer, [cookie for cookie in cookies if cookie is not None])


def client_of(scope: Scope) -> str:
    """Return the address of the client that sent a request."""
    return scope["client"][0] if scope.get("client") else ""


def too_many_tries(wait: float) -> str:
    """Return the sentence for an address that has to wait so many seconds before it may try a token again."""
    return f"too many wrong tokens came from this address; try again in {ceil(wait)} s"


def same(given: str, expected: str) -> bool:
    """Return whether two secrets are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def cookie_for(token: str) -> str:
    """Return what the login cookie holds: proof of the token, from which it cannot be computed."""
    return hmac.new(token.encode(), b"affectstream login", hashlib.sha256).hexdigest()


def origin_of(text: str, called: str = "allowed origin") -> tuple[str, str, int]:
    """Return scheme, host and port of a web origin. Raise `UserError` for what cannot be one."""
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        parts, port = urlsplit(""), 0
    bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or "*" in text or not bare:
        raise UserError(f"{called} {text[:_SHOWN]!r} is not a web origin; write it like https://lab.example:8443")
    return parts.scheme, parts.hostname.rstrip("."), port
