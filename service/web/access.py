"""Which role each route needs, and who opened which session.

`NEEDS` names every route of the API; a test compares it with the application's routes. A route that is missing needs
`manage`. Some routes may also be used with the token that opened the session by WHIP, for that session alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.routing import Match, compile_path
from starlette.types import Message, Scope

from service.roles import Role
from service.web.prefix import route_path

ROLE = "affectstream.role"  # in the scope of a request that was let in: what its token may do
OWN_SESSIONS = "affectstream.own"  # there too: a function, the names of the sessions that its token opened by WHIP
MOST_OWNED = 4096  # sessions whose opener is remembered; those opened longest ago are forgotten first


@dataclass(frozen=True)
class Need:
    """Hold the role that a route needs; with `own`, the token that opened the session in the path will do as well."""

    role: Role
    own: bool = False


VIEW, SEND, MANAGE = Need(Role.VIEW), Need(Role.SEND), Need(Role.MANAGE)
OWN = Need(Role.MANAGE, own=True)

# HEAD needs what GET needs, and a WebSocket is opened by GET.
NEEDS: Mapping[str, Mapping[str, Need]] = {
    "/": {"GET": VIEW},
    "/assets/{file:path}": {"GET": VIEW},
    "/{file}.{kind}": {"GET": VIEW},  # openapi.json, and the files beside the page
    "/docs": {"GET": VIEW},
    "/logout": {"POST": VIEW},
    "/metrics": {"GET": VIEW},
    "/readyz": {"GET": VIEW},
    "/v1/access": {"GET": VIEW},
    "/v1/models": {"GET": VIEW},
    "/v1/models/{name}/card": {"GET": VIEW},
    "/v1/schema": {"GET": VIEW},
    "/v1/sessions": {"GET": VIEW, "POST": MANAGE},
    "/v1/sessions/{id}": {"GET": VIEW, "DELETE": OWN},
    "/v1/sessions/{id}/baseline": {"POST": OWN},
    "/v1/sessions/{id}/data": {"DELETE": OWN},
    "/v1/sessions/{id}/history": {"GET": VIEW},
    "/v1/sessions/{id}/markers": {"POST": OWN},
    "/v1/sessions/{id}/neutral": {"POST": OWN},
    "/v1/sessions/{id}/preview": {"GET": VIEW},
    "/v1/sessions/{id}/report": {"GET": VIEW},
    "/v1/sessions/{id}/rules": {"GET": VIEW, "PUT": OWN},
    "/v1/stream": {"GET": VIEW},
    "/v1/tickets": {"POST": VIEW},
    "/whip/{session}": {"OPTIONS": SEND, "POST": SEND},
    "/whip/{session}/{resource}": {"OPTIONS": SEND, "PATCH": SEND, "DELETE": SEND},  # the resource is a secret
}

_PATTERNS = [(compile_path(path)[0], path, needs) for path, needs in NEEDS.items()]
_UNKNOWN = "/{unknown}"
_OPEN = ("/client.js", "/login", "/notice")  # no token is needed for them


def need_of(method: str, path: str) -> tuple[Need, str | None]:
    """Return what a request needs, and the name of the session that its path is about, if it is about one.

    Args:
        method: HTTP method; GET for a WebSocket.
        path: Path without the prefix of a proxy.
    """
    for pattern, _, needs in _PATTERNS:
        if match := pattern.fullmatch(path):
            named = match.groupdict()
            need = needs.get("GET" if method == "HEAD" else method, MANAGE)
            return need, named.get("id", named.get("session"))
    return MANAGE, None


def route_of(path: str) -> str:
    """Return the route of a path, such as /v1/sessions/{id}; of one that no route has, /{unknown}."""
    if path in _OPEN:
        return path
    return next((route for pattern, route, _ in _PATTERNS if pattern.fullmatch(path)), _UNKNOWN)


def leads_nowhere(scope: Scope) -> bool:
    """Return whether a request's path is in no table and no route of the application takes it, by any method."""
    if scope["type"] != "http" or route_of(route_path(scope)) != _UNKNOWN:
        return False
    return all(route.matches(scope)[0] is Match.NONE for route in scope["app"].routes)


class Owners:
    """Remember which token opened which session by WHIP. Used on the event loop alone."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}  # in the order of opening

    def owns(self, holder: str, session: str | None) -> bool:
        """Return whether the session of that name was opened last by `holder`."""
        return session is not None and self._owners.get(session) == holder

    def owned(self, holder: str) -> list[str]:
        """Return the names of the sessions that were opened last by `holder`."""
        return [session for session, owner in self._owners.items() if owner == holder]

    def note(self, holder: str, scope: Scope, message: Message) -> None:
        """Note who opened a session, where `message` is the answer that says so (201)."""
        if message["type"] != "http.response.start" or message["status"] != 201:
            return
        path = route_path(scope)
        if path == "/v1/sessions":  # the operator's, whoever had the name before
            location = dict(message["headers"]).get(b"location", b"").decode("latin-1")
            self._owners.pop(location.rpartition("/")[2], None)
        elif path.startswith("/whip/"):
            name = path.removeprefix("/whip/")
            self._owners.pop(name, None)
            self._owners[name] = holder
            while len(self._owners) > MOST_OWNED:
                del self._owners[next(iter(self._owners))]
