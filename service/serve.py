"""Runs the web application until it is told to stop; drains within seconds."""

import asyncio
import errno
import logging
import signal
import socket

import uvicorn

from engines.errors import UserError
from service.app import create_app
from service.settings import Settings

log = logging.getLogger(__name__)

DRAIN_SECONDS = 4  # of the 5 that operators are promised, for connections; the rest is for engines and sinks


def serve(settings: Settings) -> int:
    """Blocks until SIGINT or SIGTERM; returns the exit code. Raises `UserError` for a busy port or a bad setting."""
    with _bind(settings.host, settings.port) as listener:
        app = create_app(settings)
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
        asyncio.run(server.run_until_told(listener))
        if server.failure is not None:
            raise server.failure
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """uvicorn, but a signal is the ordinary way to stop: it ends with exit code 0."""

    failure: UserError | None = None

    async def run_until_told(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._told)
        await self._serve(sockets=[listener])

    def _told(self) -> None:
        self.force_exit = self.should_exit  # told twice: at once
        self.should_exit = True


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
