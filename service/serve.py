"""`affectstream serve`: run the service until a signal stops it, alone, with workers, or on a cluster."""

import errno
import logging
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from models.errors import UserError
from service import audit, tracing
from service.capture.limits import limit_megapixels
from service.long_lived import give_back_regularly, starting
from service.purpose import PurposeNeeded, decide
from service.register import check_name, split_name
from service.settings import LOOPBACK, Settings
from service.workers.fleet import Fleet, workers_for
from service.workers.launcher import Launcher
from service.workers.local import LocalLauncher

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.web.server import Server

log = logging.getLogger(__name__)

# Bytes that the kernel buffers for each connection. By default the buffer grows to megabytes, and a slow reader lags
# by as many before the first of its events is dropped.
SEND_BUFFER = 262_144


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM and return the exit code. Raise `UserError` for a busy port or a bad setting."""
    limit_megapixels(settings.max_megapixels)
    tracing.set_up()
    give_back_regularly()
    check_purposes(settings)
    workers = workers_for(settings)
    many = settings.cluster is not None or workers > 1
    with _bind(settings.host, settings.port) as listener:
        try:
            return _with_workers(settings, workers, listener) if many else _alone(settings, listener)
        except KeyboardInterrupt:  # before the loop takes the signals
            return 0


def check_purposes(settings: Settings) -> None:
    """Raise `UserError` for a source that reads people where no purpose is set; before the model is loaded."""
    for spec in settings.source:
        source = split_name(spec)[1]
        try:
            decide(source, None, settings.purpose)
        except PurposeNeeded as error:
            what = f"--source {audit.kind_of(source)}: {error}; give --purpose or AFFECTSTREAM_PURPOSE"
            raise UserError(what) from None


def check_sources(settings: Settings) -> None:
    """Raise `UserError` for a source that cannot be opened or named so, before a model is loaded for it."""
    from service.capture.open import check_spec

    for spec in settings.source:
        name, source = split_name(spec)
        if name is not None:
            check_name(name)
        check_spec(source)


def _alone(settings: Settings, listener: socket.socket) -> int:
    with starting():
        from service.web.app import create_app
        from service.web.live import load

        app = create_app(settings, runtime_factory=lambda _: runtime)
        server = _server(app, settings, listener)
        check_sources(settings)
        runtime = load(settings)  # not in the loop, where fetching weights could not be interrupted
    code = _run(server, app, listener)
    if runtime.lingers:
        log.warning("an engine call did not return; the process ends without waiting for it")
        logging.shutdown()
        os._exit(code)  # an ordinary exit would crash in that call's thread
    return code


def _with_workers(settings: Settings, workers: int, listener: socket.socket) -> int:
    with closing(Fleet(_launcher(settings, workers))) as fleet:
        fleet.start()  # the web application is imported meanwhile, which is half of the time until the first event
        with starting():
            check_sources(settings)
            from service.workers.assembly import application

            app = application(settings, fleet, _address(settings, listener))
            server = _server(app, settings, listener)
        fleet.wait_for()
        return _run(server, app, listener)


def _launcher(settings: Settings, workers: int) -> Launcher:
    """Return where the workers run."""
    if settings.cluster is None:
        return LocalLauncher(settings, workers)
    from service.workers.ray_launcher import RayLauncher

    return RayLauncher(settings)


def _address(settings: Settings, listener: socket.socket) -> str:
    """Return the address at which other services of a cluster reach this one."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 # compared, not bound
        host = socket.gethostbyname(socket.gethostname())
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if settings.tls_cert is None else 'https'}://{shown}:{port}"


def _server(app: "FastAPI", settings: Settings, listener: socket.socket) -> "Server":
    from service.web.server import Server, configuration

    config = configuration(app, settings)

    def ready() -> None:
        scheme = "https" if config.is_ssl else "http"
        host, port = listener.getsockname()[:2]
        log.info("Affectstream is at %s", " and ".join(addresses(scheme, host, port)))

    return Server(config, ready, handshake_seconds=settings.header_seconds)


def addresses(scheme: str, host: str, port: int) -> list[str]:
    """Return the addresses that a browser can open: for every interface at once, this machine's name and its address.

    `host` is what the server is bound to; 0.0.0.0 and :: are no addresses that can be opened.
    """
    if host in LOOPBACK:
        return [f"{scheme}://localhost:{port}"]
    if host not in ("0.0.0.0", "::"):  # noqa: S104
        return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"]
    outward = _outward()
    return [f"{scheme}://localhost:{port}", *([f"{scheme}://{outward}:{port}"] if outward is not None else [])]


def _outward() -> str | None:
    """Return this machine's address in its network, None without one. Nothing is sent: UDP only chooses the way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect(("192.0.2.1", 9))  # reserved for documentation (RFC 5737)
        except OSError:
            return None
        address: str = way.getsockname()[0]
    return None if address.startswith("127.") else address


def _run(server: "Server", app: "FastAPI", listener: socket.socket) -> int:
    server.run_until_signal(app, listener)
    tracing.end()
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
