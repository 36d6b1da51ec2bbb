"""Tickets, which stand for the token in the address of one request, for pages that cannot send it in a header.

Browsers send no header of the page's choice with a WebSocket or an image. A ticket in the address may be seen by
proxies and histories, so it opens the stream or a preview alone, one time, and soon expires.
"""

import re
import secrets
import time
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Receive, Scope, Send

from service.register import TooMany
from service.roles import Role
from service.web.prefix import route_path
from service.web.refusal import refuse

LIFETIME = 30.0  # s
MOST = 1024  # tickets that wait to be used
REDEEMED = "affectstream.ticket"  # in the scope of a request that came with a good one: the role that it carries

_PATHS = re.compile(r"/v1/stream|/v1/sessions/[^/]+/preview")


class Tickets:
    """Hold the tickets that were given and not used yet. Used on the event loop alone."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[float, Role]] = {}  # expiry and role, in the order of giving and of expiry

    def give(self, role: Role) -> str:
        """Return a new ticket that carries `role`, that of the token that it was asked for with.

        Raise `TooMany` while `MOST` tickets wait to be used.
        """
        now = time.monotonic()
        while self._given and next(iter(self._given.values()))[0] <= now:
            del self._given[next(iter(self._given))]
        if len(self._given) >= MOST:
            raise TooMany(f"{MOST} tickets wait to be used, as many as this server keeps; try again in {LIFETIME:g} s")
        ticket = secrets.token_urlsafe(24)
        self._given[ticket] = (now + LIFETIME, role)
        return ticket

    def redeem(self, ticket: str) -> Role | None:
        """Return the role of `ticket` if it was given, has not expired and was not used before; it is used up then."""
        # A dictionary compares hashes first, so how long a look-up takes says nothing of other tickets.
        expires, role = self._given.pop(ticket, (0.0, None))
        return role if expires > time.monotonic() else None


class TicketGuard:
    """Take the ticket out of an address, and refuse the request (HTTP 401) where it is not good."""

    def __init__(self, app: ASGIApp, tickets: Tickets) -> None:
        """Guard `app` with `tickets`."""
        self.app = app
        self._tickets = tickets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, marked where its ticket was good, or answer 401."""
        if scope["type"] in ("http", "websocket") and b"ticket=" in scope["query_string"] and _takes_one(scope):
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            given = [value for name, value in query if name == "ticket"]
            role = self._tickets.redeem(given[0]) if len(given) == 1 else None
            if role is None:
                sentence = "the ticket is unknown, used or expired; get a new one from POST /v1/tickets"
                await refuse(scope, receive, send, 401, sentence)
                return
            rest = urlencode([(name, value) for name, value in query if name != "ticket"])
            scope["query_string"] = rest.encode("latin-1")  # in place, so that those who called this see the mark too
            scope[REDEEMED] = role
        await self.app(scope, receive, send)


def _takes_one(scope: Scope) -> bool:
    return _PATHS.fullmatch(route_path(scope)) is not None and scope.get("method", "GET") == "GET"
