"""`affectstream serve`: run the service until a signal stops it, in this process alone or with workers."""

import errno
import logging
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from models.errors import UserError
from service.settings import LOOPBACK, Settings
from service.workers.fleet import Fleet, workers_for

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.web.server import Server

log = logging.getLogger(__name__)

# Bytes that the kernel buffers for each connection. By default the buffer grows to megabytes, and a slow reader lags
# by as many before the first of its events is dropped.
SEND_BUFFER = 262_144


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM and return the exit code. Raise `UserError` for a busy port or a bad setting."""
    workers = workers_for(settings)
    with _bind(settings.host, settings.port) as listener:
        try:
            return _with_workers(settings, workers, listener) if workers > 1 else _alone(settings, listener)
        except KeyboardInterrupt:  # before the loop takes the signals
            return 0


def _alone(settings: Settings, listener: socket.socket) -> int:
    from service.web.app import create_app
    from service.web.live import load

    app = create_app(settings, runtime_factory=lambda _: runtime)
    server = _server(app, settings, listener)
    runtime = load(settings)  # not in the loop, where fetching weights could not be interrupted
    code = _run(server, app, listener)
    if runtime.lingers:
        log.warning("an engine call did not come back; ending without it")
        logging.shutdown()
        os._exit(code)  # its thread would bring an ordinary end down
    return code


def _with_workers(settings: Settings, workers: int, listener: socket.socket) -> int:
    with closing(Fleet(settings, workers)) as fleet:
        fleet.start()  # the web application is imported meanwhile, which is half of the time until the first event
        from service.web.app import create_app
        from service.workers import metrics as merged_metrics
        from service.workers import proxy
        from service.workers.sessions import RemoteSessions

        app = create_app(
            settings,
            runtime_factory=lambda _: fleet,
            sessions_factory=lambda _, fleet, hub: RemoteSessions(fleet, hub, limit=settings.max_sessions),
            routers=[proxy.router, merged_metrics.router],
        )
        server = _server(app, settings, listener)
        fleet.wait_for()
        return _run(server, app, listener)


def _server(app: "FastAPI", settings: Settings, listener: socket.socket) -> "Server":
    from service.web.server import Server, configuration

    config = configuration(app, settings)

    def ready() -> None:
        scheme = "https" if config.is_ssl else "http"
        host, port = listener.getsockname()[:2]
        log.info("Affectstream is at %s://%s:%d", scheme, "localhost" if host in LOOPBACK else host, port)

    return Server(config, ready)


def _run(server: "Server", app: "FastAPI", listener: socket.socket) -> int:
    server.run_until_signal(app, listener)
    failure: UserError | None = app.state.failure
    if failure is not None and not server.stopping:
        raise failure
    return 0 if server.started or server.stopping else 1


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
