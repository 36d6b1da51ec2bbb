"""A worker process of the service: `python -P -m service.workers.main`, started by `service.workers.local` alone.

It runs the whole web application on one core and on a socket that only the service in front of it can reach. Its
standard input begins with a line of JSON, the settings, and stays open as long as the worker is wanted; its standard
output carries beats and events (`service.workers.relay`). On a node of a cluster it is given two open sockets instead,
one for requests and one for the line that carries beats and events (`service.workers.line`), and a key that guards
both; its output then ends with the message that it is ready.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any, NoReturn

from models.errors import UserError
from service import audit, logs, tracing
from service.long_lived import give_back_regularly, share_one_arena, starting
from service.workers.heartbeat import Beat, Heart, pack_beat
from service.workers.relay import LEAVING, READY, Pipe, RelaySink, message

if TYPE_CHECKING:
    from service.web.live import Live

LINE_WITHIN = 60.0  # s that the service in front has to open the line to a worker that is ready
LEAVE_WITHIN = 30.0  # s in which the service in front has the sessions of a node that ends read elsewhere


def main() -> int:
    """Serve until standard input ends or SIGTERM comes; return the exit code."""
    share_one_arena()
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the messages
    given = json.loads(sys.stdin.readline())
    logging.getLogger(audit.LOGGER).setLevel(logging.WARNING)  # the service in front writes the audit trail, once
    logs.set_up(given["log_level"], form=given["settings"]["log_format"])
    if hasattr(os, "sched_setaffinity") and given["core"] is not None:
        os.sched_setaffinity(0, {given["core"]})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    relays: list[RelaySink] = []
    leave_within = LEAVE_WITHIN if "line" in given else 0.0
    threading.Thread(target=_end_with_the_service, args=(relays, leave_within), daemon=True).start()
    heart = Heart(lambda body: _send(pipe, body))
    try:
        _serve(given, pipe, heart, relays)
    except UserError as error:
        _send(pipe, str(error).encode())
        return 2
    except KeyboardInterrupt:  # while weights were fetched or a network compiled
        return 0


def _serve(given: dict[str, Any], pipe: IO[bytes], heart: Heart, relays: list[RelaySink]) -> NoReturn:
    with starting():
        # Imported after the core was chosen: libraries count the cores when they are imported.
        from service.capture.limits import limit_megapixels
        from service.publish.hub import Hub
        from service.settings import Settings
        from service.web.app import create_app
        from service.web.live import load
        from service.web.server import Server, configuration
        from service.workers.routes import router

        settings = Settings(**given["settings"])
        limit_megapixels(settings.max_megapixels)
        runtime = load(settings)
    give_back_regularly()
    on_a_node = "line" in given

    def relay(settings: Settings, hub: Hub) -> list[RelaySink]:
        relays.append(RelaySink(None if on_a_node else Pipe(pipe), hub))
        return relays

    app = create_app(settings, runtime_factory=lambda _: runtime, sinks_factory=relay, routers=[router])
    tracing.set_up()  # after the application is made: its requests are spans of the service in front already

    def ready() -> None:
        live: Live = app.state.live
        _send(pipe, pack_beat(_beat_of(live)))  # first, so that the model is known as soon as the worker is ready
        _send(pipe, READY)
        heart.attach(asyncio.get_running_loop(), relays[0].send, lambda: _beat_of(live))
        if on_a_node:
            _await_line(given["line"], given["settings"]["token"], relays[0])

    with _listener(given) as listener:
        server = Server(configuration(app, settings), ready=ready)
        server.run_until_signal(app, listener)
    # The end of an interpreter with this many libraries takes up to two seconds, and crashes where a call of an engine
    # has not come back.
    tracing.end()
    logging.shutdown()
    os._exit(0)


def _listener(given: dict[str, Any]) -> socket.socket:
    """Return the socket for requests."""
    if "line" in given:
        return socket.socket(fileno=given["requests"])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(given["socket"])
    return listener


def _await_line(number: int, key: str, relay: RelaySink) -> None:
    """Write to the line from the service in front as soon as there is one, and end this process when it is lost."""
    from service.workers.line import Line, accept

    loop = asyncio.get_running_loop()

    def begin(connection: socket.socket) -> None:
        relay.connect(Line(connection, _end))

    def wait() -> None:
        with socket.socket(fileno=number) as listener:
            listener.settimeout(LINE_WITHIN)
            try:
                connection = accept(listener, key)
            except OSError:
                _end()  # the service in front is gone
                return
        loop.call_soon_threadsafe(begin, connection)

    threading.Thread(target=wait, daemon=True).start()


def _beat_of(live: "Live") -> Beat:
    figures = {session.name: session.figures() for session in live.sessions.list()}
    runtime, beside = live.runtime, [*live.sessions.models_beside()]
    return Beat(figures, runtime.problems(), dict(runtime.info), runtime.licences(), beside)


def _send(pipe: IO[bytes], body: bytes) -> None:
    try:
        pipe.write(message(body))
    except OSError:  # the service in front has ended, and this process is about to end too
        return


def _end_with_the_service(relays: list[RelaySink], leave_within: float) -> None:
    """End this process when standard input ends, so that no worker outlives the service in front, or its node.

    On a node of a cluster, standard input ends with the actor that started this process. The service in front, which
    may still run, is told so, and sessions are read here for up to `leave_within` seconds more, until they are read
    elsewhere. The service closes the line then, and a line that is closed or silent ends this process at once, so that
    nothing is read twice although no lease is renewed any more.
    """
    while sys.stdin.buffer.read(1 << 16):
        pass
    for relay in relays:
        relay.send(LEAVING)
    if any(relay.connected for relay in relays):
        time.sleep(leave_within)
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
