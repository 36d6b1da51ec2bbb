"""The HTTP server: uvicorn with bounded connections, and with a signal as the ordinary way to stop (exit code 0)."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.lifespan.off import LifespanOff

from models.errors import UserError
from service.settings import Settings
from service.web.app import drain
from service.web.connections import Limits, WsConnection, http_protocol

log = logging.getLogger(__name__)

CLOSE_CONNECTIONS = 0.3  # s that clients have to hang up, after subscribers got their last events
END_WITHIN = 2.8  # s from the signal; operators may rely on 3
# Not logged: a failed start raises its own sentence, a WebSocket that was refused or a request that is nonsense is the
# client's fault, and tasks that are cancelled at the end are those of clients that did not hang up in time.
_NOISE = ("startup failed", "without completing handshake", "graceful shutdown exceeded", "Invalid HTTP request")


def configuration(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return the server's configuration. Raise `UserError` for a certificate or key that cannot be used."""
    logging.getLogger("uvicorn.error").addFilter(_worth_logging)
    config = uvicorn.Config(
        app,
        log_config=None,  # its lines are entries of our log
        log_level="warning",
        access_log=False,  # addresses and session names are personal data
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=CLOSE_CONNECTIONS,  # type: ignore[arg-type] # goes to asyncio.wait_for as it is
        http=http_protocol(Limits.of(settings)),
        ws=WsConnection,
        ws_ping_interval=None,  # the stream route sends its own; a slow reader is not cut off
        ws_max_size=settings.max_request_bytes,
        ws_per_message_deflate=False,  # takes more time than it saves on loopback or a local network
        server_header=False,
    )
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        raise UserError(
            f"--tls-cert {settings.tls_cert} and --tls-key {settings.tls_key} cannot be used "
            f"({error.strerror or error}); give a PEM certificate and its own key"
        ) from None
    return config


def _worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn's is about a fault, and not about a client or a task cancelled at the end."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and not any(text in record.getMessage() for text in _NOISE)


class Server(uvicorn.Server):
    """Run uvicorn so that a signal first drains its application and then stops it."""

    stopping = False  # a signal came

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], *, handshake_seconds: float = 10.0) -> None:
        """Call `ready` in the loop once the server takes requests; a TLS handshake may take `handshake_seconds`."""
        super().__init__(config)
        self._handshake_seconds = handshake_seconds
        self._ready = ready

    def run_until_signal(self, app: FastAPI, listener: socket.socket) -> None:
        """Run `serve_until_signal` in a loop of its own: uvloop's where it is installed, which takes less time."""
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self.serve_until_signal(app, listener))

    async def serve_until_signal(self, app: FastAPI, listener: socket.socket) -> None:
        """Serve `app` on `listener` until SIGINT or SIGTERM, and drain it then; a second signal ends it at once."""
        signalled = asyncio.Event()

        def stop() -> None:
            self.force_exit = self.stopping
            if not self.stopping:
                end_within(END_WITHIN)
            self.stopping = True
            signalled.set()

        loop = asyncio.get_running_loop()
        bound_handshakes(loop, self._handshake_seconds)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        serving = asyncio.create_task(self._serve(sockets=[listener]))
        waiting = asyncio.create_task(signalled.wait())
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await drain(app)
            self.should_exit = True
        waiting.cancel()
        await serving

    async def serve_beside(self, listener: socket.socket) -> None:
        """Serve on `listener` until `should_exit`, where the application's lifespan and the signals are others'."""
        self.config.lifespan_class = LifespanOff
        await self._serve(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, or give up silently where the application cannot: whoever started it raises the reason."""
        try:
            await super().startup(sockets)
        except SystemExit:
            self.should_exit = True
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections; the application ends in order also after a second signal, which uvicorn omits."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


def bound_handshakes(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Let the TLS handshakes of servers that `loop` makes from now on take at most so many seconds, not a minute.

    uvicorn passes no such limit on, and counts a connection only once its handshake is done.
    """
    create: Callable[..., Any] = loop.create_server

    async def create_server(*positional: Any, ssl: Any = None, **named: Any) -> Any:
        if ssl is not None:
            named["ssl_handshake_timeout"] = seconds
        return await create(*positional, ssl=ssl, **named)

    loop.create_server = create_server  # type: ignore[method-assign]


def end_within(seconds: float) -> None:
    """End the process after `seconds` even where a thread hangs, as in a camera's driver or a download.

    By then all that can be drained has been.
    """

    def end() -> None:
        log.warning("something did not let go within %g s; ending all the same", seconds)
        os._exit(0)

    last_resort = threading.Timer(seconds, end)
    last_resort.daemon = True
    last_resort.start()
