"""Headers of every answer: browsers run only what comes from here, show it in no foreign frame, and guess no types."""

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.tickets import REDEEMED

CONTENT_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob: mediastream:",
    "font-src": "'self'",
    "connect-src": "'self'",  # the page's own server, WebSockets included
    "worker-src": "'self' blob:",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none at all, browsers post forms, the login too, with the origin "null"
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",
    "cache-control": "no-store",
}

_NO_FRAMES = "frame-ancestors 'none'"


def content_policy(**changes: str) -> str:
    """Return the Content-Security-Policy with some directives changed, such as `script_src="'sha256-...'"`."""
    policy = CONTENT_POLICY | {name.replace("_", "-"): value for name, value in changes.items()}
    return "; ".join(f"{name} {value}" for name, value in policy.items())


class SecurityHeaders:
    """Add the headers above to every answer that does not set them itself."""

    def __init__(self, app: ASGIApp, frame_ancestors: Sequence[str] = ()) -> None:
        """Add headers to the answers of `app`, which pages of the origins `frame_ancestors` may show in a frame."""
        self.app = app
        self._ancestors = " ".join(frame_ancestors) or "'none'"
        self._headers = _HEADERS | {"content-security-policy": content_policy()}
        if frame_ancestors:
            del self._headers["x-frame-options"]  # it knows no list of origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add the headers to its answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(raw=message["headers"])
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope.get(REDEEMED):
                    headers["cross-origin-resource-policy"] = "cross-origin"  # an image of a page elsewhere
                policy = headers["content-security-policy"]
                headers["content-security-policy"] = policy.replace(_NO_FRAMES, f"frame-ancestors {self._ancestors}")
                message = {**message, "headers": headers.raw}
            await send(message)

        await self.app(scope, receive, send_with_headers)
