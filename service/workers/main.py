"""A worker process of the service: `python -m service.workers.main`, started by `service.workers.fleet` alone.

It is the whole service once more, on one core and on a socket that only the service in front of it can reach. Its
standard input begins with a line of JSON, the settings, and stays open as long as it is wanted; through its standard
output go events (`service.workers.relay`).
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import IO, Any

from engines.errors import UserError
from service.workers.relay import RelaySink, message

READY = b"ready"  # the first message, if there is nothing wrong


def main() -> int:
    """Serves until standard input ends or SIGTERM comes; the exit code."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no event
    told = json.loads(sys.stdin.readline())
    logging.basicConfig(level=told["log_level"], format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {told["core"]})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    try:
        return _serve(told["settings"], told["socket"], pipe)
    except UserError as error:
        pipe.write(message(str(error).encode()))
        return 2
    except KeyboardInterrupt:  # while weights were fetched or a network compiled
        return 0


def _serve(given: dict[str, Any], path: str, pipe: IO[bytes]) -> int:
    # After the core was chosen: libraries count the cores when they are imported.
    from service.settings import Settings
    from service.web.app import create_app
    from service.web.live import load
    from service.web.server import Server, configuration
    from service.workers.routes import router

    settings = Settings(**given)
    runtime = load(settings)
    app = create_app(
        settings,
        runtime_factory=lambda _: runtime,
        sinks_factory=lambda _, hub: [RelaySink(pipe, hub)],
        routers=[router],
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        server = Server(configuration(app, settings), ready=lambda: _tell(pipe, READY))
        server.run_told(app, listener)
    if runtime.lingers:
        logging.shutdown()
        os._exit(0)  # an engine call that did not come back would bring an ordinary end down
    return 0


def _tell(pipe: IO[bytes], body: bytes) -> None:
    pipe.write(message(body))


def _end_with_the_service() -> None:
    """However the service in front ends, no worker outlives it."""
    while sys.stdin.buffer.read(1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
