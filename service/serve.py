"""Runs the web application until it is told to stop; drains within seconds."""

import asyncio
import errno
import logging
import signal
import socket

import uvicorn
from fastapi import FastAPI

from engines.errors import UserError
from service.app import create_app, drain
from service.settings import LOOPBACK, Settings

log = logging.getLogger(__name__)

DRAIN_SECONDS = 4  # of the 5 that operators are promised, for connections; the rest is for engines and sinks


def serve(settings: Settings) -> int:
    """Blocks until SIGINT or SIGTERM; returns the exit code. Raises `UserError` for a busy port or a bad setting."""
    with _bind(settings.host, settings.port) as listener:
        app = create_app(settings)
        # `UserError`s say it better, and other failures come with their traceback.
        logging.getLogger("uvicorn.error").addFilter(lambda record: "startup failed" not in record.getMessage())
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # addresses and session names are personal data
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            ws_max_size=settings.max_request_bytes,
            server_header=False,
        )
        server = _Server(config)
        asyncio.run(server.run_until_told(app, listener))
    failure: UserError | None = app.state.failure
    if failure is not None:
        raise failure
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """uvicorn, but a signal is the ordinary way to stop: subscribers get their last events and the exit code is 0."""

    async def run_until_told(self, app: FastAPI, listener: socket.socket) -> None:
        told = asyncio.Event()

        def tell() -> None:
            self.force_exit = told.is_set()  # told twice: at once
            told.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, tell)
        serving = asyncio.create_task(self._serve(sockets=[listener]))
        stopping = asyncio.create_task(told.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await drain(app)
            self.should_exit = True
        stopping.cancel()
        await serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Says where the service is once it is."""
        try:
            await super().startup(sockets)
        except SystemExit:  # how uvicorn gives up when the application cannot start; `serve` says why
            self.should_exit = True
        if self.started and sockets:
            scheme = "https" if self.config.is_ssl else "http"
            host, port = sockets[0].getsockname()[:2]
            log.info("Affectstream is at %s://%s:%d", scheme, "localhost" if host in LOOPBACK else host, port)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be bound ({error.strerror})"
        raise UserError(f"port {port} of {host} {why}; choose another with --port") from None
    return listener
