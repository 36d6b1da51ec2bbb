"""The path prefix under which a reverse proxy serves this, such as /affect; the proxy removes it from the path.

Inside, a scope is as ASGI has it: `path` begins with `root_path`. Code that judges paths calls `route_path`, which
leaves the prefix out exactly as routing does, so that a guard judges the path that is routed.
"""

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.settings import PREFIX


class Prefix:
    """Put the prefix of `X-Forwarded-Prefix`, else of the setting `root_path`, before the path of each request.

    `Location` headers and cookies then lead through the proxy. A client that sends the header itself changes its own
    answers only.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        """Serve `app` under `root_path`, which is empty where there is no proxy."""
        self.app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its prefix."""
        if scope["type"] in ("http", "websocket"):
            given = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
            prefix = given if PREFIX.fullmatch(given) else self._root_path
            if prefix:
                raw = prefix.encode("ascii") + scope["raw_path"]
                scope = {**scope, "root_path": prefix, "path": prefix + scope["path"], "raw_path": raw}
        await self.app(scope, receive, send)


def route_path(scope: Scope) -> str:
    """Return the path of a request without the prefix, as routing compares it with the routes."""
    return get_route_path(scope)
