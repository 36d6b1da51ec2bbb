"""A worker process of the service: `python -P -m service.workers.main`, started by `service.workers.fleet` alone.

It runs the whole web application on one core and on a socket that only the service in front of it can reach. Its
standard input begins with a line of JSON, the settings, and stays open as long as the worker is wanted; its standard
output carries beats and events (`service.workers.relay`).
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, NoReturn

from models.errors import UserError
from service.workers.heartbeat import Beat, Heart, pack_beat
from service.workers.relay import READY, RelaySink, message

if TYPE_CHECKING:
    from service.web.live import Live


def main() -> int:
    """Serve until standard input ends or SIGTERM comes; return the exit code."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the messages
    given = json.loads(sys.stdin.readline())
    logging.basicConfig(level=given["log_level"], format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given["core"]})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    heart = Heart(lambda body: _send(pipe, body))
    try:
        _serve(given["settings"], given["socket"], pipe, heart)
    except UserError as error:
        _send(pipe, str(error).encode())
        return 2
    except KeyboardInterrupt:  # while weights were fetched or a network compiled
        return 0


def _serve(given: dict[str, Any], path: str, pipe: IO[bytes], heart: Heart) -> NoReturn:
    # Imported after the core was chosen: libraries count the cores when they are imported.
    from service.publish.hub import Hub
    from service.settings import Settings
    from service.web.app import create_app
    from service.web.live import load
    from service.web.server import Server, configuration
    from service.workers.routes import router

    settings = Settings(**given)
    runtime = load(settings)
    relays: list[RelaySink] = []

    def relay(settings: Settings, hub: Hub) -> list[RelaySink]:
        relays.append(RelaySink(pipe, hub))
        return relays

    app = create_app(settings, runtime_factory=lambda _: runtime, sinks_factory=relay, routers=[router])

    def ready() -> None:
        live: Live = app.state.live
        _send(pipe, pack_beat(_beat_of(live)))  # first, so that the model is known as soon as the worker is ready
        _send(pipe, READY)
        heart.attach(asyncio.get_running_loop(), relays[0].send, lambda: _beat_of(live))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        server = Server(configuration(app, settings), ready=ready)
        server.run_until_signal(app, listener)
    # The end of an interpreter with this many libraries takes up to two seconds, and crashes where a call of an engine
    # has not come back.
    logging.shutdown()
    os._exit(0)


def _beat_of(live: "Live") -> Beat:
    figures = {session.name: session.figures() for session in live.sessions.list()}
    return Beat(figures, live.runtime.problems(), dict(live.runtime.info), live.runtime.licences())


def _send(pipe: IO[bytes], body: bytes) -> None:
    try:
        pipe.write(message(body))
    except OSError:  # the service in front is gone: so will be this process
        return


def _end_with_the_service() -> None:
    """Send this process SIGTERM when standard input ends, so that no worker outlives the service in front."""
    while sys.stdin.buffer.read(1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
