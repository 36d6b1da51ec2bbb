"""Refusal of request bodies beyond a limit, whether or not their length is given beforehand."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.refusal import refuse

_DIGITS = 18  # of a length; Python refuses to read numbers of thousands of digits


class BodyLimit:
    """Answer 413 to bodies of more than `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        """Pass on to `app` what is small enough."""
        self.app = app
        self._limit = limit
        self._sentence = f"the body is larger than the {limit} bytes that this server takes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or len(length) > _DIGITS or int(length) > self._limit:
            await refuse(scope, receive, send, 413, self._sentence)
            return
        read = 0

        async def receive_within() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise HTTPException(413, self._sentence)
            return message

        await self.app(scope, receive_within, send)
