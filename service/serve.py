"""Runs the web application until it is told to stop; drains within seconds."""

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
import threading

import uvicorn
from fastapi import FastAPI

from engines.errors import UserError
from service.app import create_app, drain
from service.live import load
from service.settings import LOOPBACK, Settings

log = logging.getLogger(__name__)

CLOSE_CONNECTIONS = 0.5  # s that clients have to hang up, after draining gave subscribers their last events
END_WITHIN = 4.8  # s from the signal; operators are promised 5
OTHER_CONNECTIONS = 192  # at once, besides subscribers: requests, and browsers that keep theirs open
# Bytes of kernel buffer a connection. Left to itself it grows to megabytes, by which a slow reader lags before the
# first of its events is dropped.
SEND_BUFFER = 262_144
# Not for the log: `UserError`s tell a failed start better, and uvicorn takes every refused WebSocket for a fault.
_NOISE = ("startup failed", "without completing handshake", "Cancel 0 running")


def serve(settings: Settings) -> int:
    """Blocks until SIGINT or SIGTERM; returns the exit code. Raises `UserError` for a busy port or a bad setting."""
    with _bind(settings.host, settings.port) as listener:
        app = create_app(settings, runtime_factory=lambda _: runtime)
        server = _Server(_config(app, settings))
        try:
            # Not in the loop, where fetching weights could not be interrupted.
            runtime = load(settings)
            asyncio.run(server.run_until_told(app, listener))
        except KeyboardInterrupt:  # before the loop takes the signals
            return 0
    failure: UserError | None = app.state.failure
    if failure is not None and not server.told:
        raise failure
    code = 0 if server.started or server.told else 1
    if runtime.lingers:
        log.warning("an engine call did not come back; ending without it")
        logging.shutdown()
        os._exit(code)  # its thread would bring an ordinary end down
    return code


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").addFilter(lambda record: not any(n in record.getMessage() for n in _NOISE))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # addresses and session names are personal data
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=CLOSE_CONNECTIONS,  # type: ignore[arg-type] # goes to asyncio.wait_for as it is
        limit_concurrency=settings.max_subscribers + OTHER_CONNECTIONS,
        ws_max_size=settings.max_request_bytes,
        ws_per_message_deflate=False,  # costs more time than it saves on loopback and in a lab's network
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


class _Server(uvicorn.Server):
    """uvicorn, but a signal is the ordinary way to stop: subscribers get their last events and the exit code is 0."""

    told = False  # to stop

    async def run_until_told(self, app: FastAPI, listener: socket.socket) -> None:
        told = asyncio.Event()

        def tell() -> None:
            self.force_exit = self.told  # told twice: at once
            if not self.told:
                _end_within(END_WITHIN)
            self.told = True
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


def _end_within(seconds: float) -> None:
    """Ends the process after `seconds` where a thread does not let go, such as a camera's driver or a download: all
    that can be drained is drained by then."""

    def end() -> None:
        log.warning("something did not let go within %g s; ending all the same", seconds)
        os._exit(0)

    last_resort = threading.Timer(seconds, end)
    last_resort.daemon = True
    last_resort.start()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be bound ({error.strerror})"
        raise UserError(f"port {port} of {host} {why}; choose another with --port") from None
    return listener
