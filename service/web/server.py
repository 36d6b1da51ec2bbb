"""uvicorn, but a signal is the ordinary way to stop: subscribers get their last events and the exit code is 0."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from engines.errors import UserError
from service.settings import Settings
from service.web.app import drain

log = logging.getLogger(__name__)

CLOSE_CONNECTIONS = 0.5  # s that clients have to hang up, after draining gave subscribers their last events
END_WITHIN = 4.8  # s from the signal; operators are promised 5
OTHER_CONNECTIONS = 192  # at once, besides subscribers: requests, and browsers that keep theirs open
# Not for the log: `UserError`s tell a failed start better, and uvicorn takes every refused WebSocket for a fault.
_NOISE = ("startup failed", "without completing handshake", "Cancel 0 running")


def configuration(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Of the server. Raises `UserError` for a certificate or key that cannot be used."""
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


class Server(uvicorn.Server):
    """`ready` is called once it takes requests."""

    told = False  # to stop

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    def run_told(self, app: FastAPI, listener: socket.socket) -> None:
        """`run_until_told` in a loop of its own, of uvicorn's choosing: uvloop where there is one, which hands an
        event on for less.
        """
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self.run_until_told(app, listener))

    async def run_until_told(self, app: FastAPI, listener: socket.socket) -> None:
        """Serves `app` on `listener` until SIGINT or SIGTERM; drains it first then."""
        told = asyncio.Event()

        def tell() -> None:
            self.force_exit = self.told  # told twice: at once
            if not self.told:
                end_within(END_WITHIN)
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
        """Gives up without a word where the application cannot start; whoever started it says why."""
        try:
            await super().startup(sockets)
        except SystemExit:
            self.should_exit = True
        if self.started:
            self._ready()


def end_within(seconds: float) -> None:
    """Ends the process after `seconds` where a thread does not let go, such as a camera's driver or a download: all
    that can be drained is drained by then.
    """

    def end() -> None:
        log.warning("something did not let go within %g s; ending all the same", seconds)
        os._exit(0)

    last_resort = threading.Timer(seconds, end)
    last_resort.daemon = True
    last_resort.start()
