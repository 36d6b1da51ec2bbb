"""What is bounded about a connection before anybody has shown a token: its head, its body, its time, its number.

uvicorn's own limit counts half-open connections like requests and answers 503 to all alike, health checks included.
Here the oldest connection that waits for a request gives way to a new one. Where no connection waits, a few more are
taken, on which health checks alone are answered.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from service.settings import Settings
from service.web.cors import ReadableAnswers, readable_by
from service.web.problem_details import MEDIA_TYPE, encoded

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
OTHER_CONNECTIONS = 192  # at once, besides subscribers: requests, and browsers that keep their connections open
RESERVED = 16  # connections beyond the limit, for health checks
PINGS = "affectstream.pings"  # name of the ASGI extension through which the stream route reaches its `WsConnection`
_BODY_OVERHEAD = 8  # bytes sent for each byte of a body in tiny chunks, with some room


@dataclass(frozen=True)
class Limits:
    """Hold the limits of a server's connections; 0 connections a client means any number."""

    head_bytes: int
    head_seconds: float
    body_bytes: int
    body_seconds: float
    connections: int
    connections_per_client: int
    origins: tuple[str, ...] = ()  # web origins whose pages may read a refusal

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits that `settings` name."""
        return cls(
            head_bytes=settings.max_header_bytes,
            head_seconds=settings.header_seconds,
            body_bytes=_BODY_OVERHEAD * settings.max_request_bytes + settings.max_header_bytes,
            body_seconds=settings.body_seconds,
            connections=settings.max_subscribers + OTHER_CONNECTIONS,
            connections_per_client=settings.max_connections_per_client,
            origins=tuple(settings.allowed_origins),
        )


def http_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol class of HTTP connections with these limits, for uvicorn."""
    return type("HttpConnection", (HttpConnection,), {"limits": limits})


class HttpConnection(HttpToolsProtocol):
    """Serve an HTTP connection whose requests are bounded in size and time."""

    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, after another one has given way where there are too many."""
        super().connection_made(transport)
        self.waiting = True  # for the end of a request's head
        self._cycles: list[Any] = []  # requests that are being answered, or wait for the answer of those before them
        self._head_bytes = self._body_bytes = 0
        self._body_ended = True
        self._part = 0  # bytes that are being parsed now
        self._waiting_since = self.loop.time()
        self._deadline = self.loop.call_later(self.limits.head_seconds, self._late)
        if not self._make_room():
            self.app = ReadableAnswers(_health_only(self.app), self.limits.origins)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the connection go."""
        self._deadline.cancel()
        self._give_up()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse `data`, no more of a request's head and body than the limits allow."""
        while data and self.waiting:
            room = self.limits.head_bytes - self._head_bytes
            if room <= 0:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {self.limits.head_bytes} bytes of header"
                )
                return
            part, data = data[:room], data[room:]
            self._head_bytes += len(part)
            self._part = len(part)
            super().data_received(part)
            self._part = 0
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return
        if data:
            self._body_bytes += len(data)
            if self._body_bytes > self.limits.body_bytes:
                self._hang_up(at_once=True)
                return
            super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to count a request's head and the time that it takes."""
        super().on_message_begin()
        self.waiting = True
        self._head_bytes, self._body_bytes = self._part, 0
        self._restart(self.limits.head_seconds)

    def on_headers_complete(self) -> None:
        """Begin to count a request's body and the time that it takes."""
        self.waiting = self._body_ended = False
        self._restart(self.limits.body_seconds)
        super().on_headers_complete()
        if self.cycle is not None:
            self._cycles = [one for one in self._cycles if not one.response_complete] + [self.cycle]

    def on_message_complete(self) -> None:
        """Give the answer any time it needs; one that did not wait for the body, such as a 413, is complete already."""
        self._deadline.cancel()
        self._body_ended = True
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._wait_for_next()

    def on_response_complete(self) -> None:
        """Wait for the next request; uvicorn closes the connection if none comes."""
        super().on_response_complete()
        if self._body_ended:  # else what comes is the rest of a body, not a head
            self._wait_for_next()

    def _wait_for_next(self) -> None:
        self.waiting = True
        self._head_bytes = 0
        self._waiting_since = self.loop.time()

    def shutdown(self) -> None:
        """Close the connection where it waits for the client; else after the answer."""
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body:
            self._hang_up()
        else:
            super().shutdown()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the WebSocket protocol."""
        self._deadline.cancel()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 to what is no HTTP, in place of any answer that is still being made."""
        super().send_400_response(msg)
        self._hang_up()

    @property
    def idle(self) -> bool:
        """Return whether no request is being answered on this connection."""
        return self.waiting and (self.cycle is None or self.cycle.response_complete)

    def close_for_another(self) -> None:
        """Close the connection, on which no request is being answered."""
        self.waiting = False
        self._hang_up(at_once=True)

    def _hang_up(self, *, at_once: bool = False) -> None:
        """Close the connection, also where an answer is still being made."""
        self._give_up()
        if at_once:
            self.transport.abort()
        else:
            self.transport.close()

    def _give_up(self) -> None:
        """Discard the answers that are still being written."""
        self.pipeline.clear()
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()
        self._cycles.clear()

    def _restart(self, seconds: float) -> None:
        self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self.waiting and self._head_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"no whole header within {self.limits.head_seconds:g} s")
        else:
            self._hang_up()

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        body = encoded(status.value, f"{why}; this server takes no more")
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\nconnection: close\r\n"
        origin = next((value.decode("latin-1") for name, value in self.headers or [] if name == b"origin"), "")
        for name, value in readable_by(self.limits.origins, origin).items():
            head += f"{name}: {value}\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self._hang_up()

    def _make_room(self) -> bool:
        """Return whether there is room for this connection, after another one was closed for it if need be."""
        clients = Counter(_host(one) for one in self.connections)
        mine = _host(self)
        per_client = self.limits.connections_per_client
        if per_client and mine is not None and clients[mine] > per_client:
            return self._close_waiting({mine})
        if len(self.connections) <= self.limits.connections:
            return True
        most = max(clients.values())
        if self._close_waiting({host for host, count in clients.items() if count == most}):
            return True
        room = self._close_waiting(set(clients))
        if not room and len(self.connections) > self.limits.connections + RESERVED:
            self._hang_up(at_once=True)
        return room

    def _close_waiting(self, hosts: set[str | None]) -> bool:
        """Close the longest-waiting other connection from one of `hosts`; return whether there was one."""
        idle = [one for one in self.connections if isinstance(one, HttpConnection) and one.idle and one is not self]
        found = [one for one in idle if _host(one) in hosts]
        if not found:
            return False
        min(found, key=lambda one: one._waiting_since).close_for_another()
        return True


class WsConnection(WebSocketsSansIOProtocol):
    """Serve a WebSocket connection whose pings an application can send and await."""

    def __init__(self, *args: Any, **named: Any) -> None:
        """Take what uvicorn passes on."""
        super().__init__(*args, **named)
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._count = 0

    async def run_asgi(self) -> None:
        """Run the application, with this connection in the scope's extensions."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[PINGS] = self
        try:
            await super().run_asgi()
        finally:
            for pong in self._pings.values():
                pong.cancel()

    def ping(self) -> "asyncio.Future[None]":
        """Send a ping; the result comes with its pong, and is cancelled when the connection ends."""
        self._count += 1
        payload = self._count.to_bytes(4, "big")
        pong = self._pings[payload] = self.loop.create_future()
        if self.close_sent or self.transport.is_closing():
            pong.cancel()
        else:
            self.conn.send_ping(payload)
            self.transport.write(b"".join(self.conn.data_to_send()))
        return pong

    def abort(self) -> None:
        """Close the connection at once, without a closing handshake."""
        self.transport.abort()

    def handle_parser_exception(self) -> None:
        """Close the connection after what is no frame; at once where nothing can be said any more."""
        if self.conn.close_sent is None:
            self.abort()
        else:
            super().handle_parser_exception()

    def handle_pong(self, event: Frame) -> None:
        """Give the ping of this pong its result, and all earlier ones, as RFC 6455 allows one pong for several."""
        payload = bytes(event.data)
        if payload not in self._pings:
            return
        for earlier in [*self._pings]:
            pong = self._pings.pop(earlier)
            if not pong.done():
                pong.set_result(None)
            if earlier == payload:
                return


def _host(connection: Any) -> str | None:
    """Return the address of a connection's client; None on a Unix socket."""
    client: tuple[str, int] | None = connection.client
    return client[0] if client else None


def _health_only(app: Any) -> Any:
    """Return an application that passes health checks to `app` and answers 503 to everything else."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in HEALTH_PATHS:
            await app(scope, receive, send)
            return
        body = encoded(503, "as many connections are open as this server allows; try again later")
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        headers += [(b"connection", b"close"), (b"retry-after", b"5")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer
