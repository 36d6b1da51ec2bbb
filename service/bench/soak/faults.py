"""The faults of a soak. Each is done and undone by one function, which raises `WentWrong` for an error that it reveals.

After a fault was undone, everything must be well again: every session live, the service ready, Redis written to.
"""

import contextlib
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import httpx
import orjson
import psutil
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from service.bench.soak.parts import Camera, PeerProcess, RedisProcess, Service, SilentHost, continued
from service.bench.soak.watch import RedisReader
from service.capture.source import Timeouts

HOLD = 3.0  # s that a fault lasts, where it lasts
WORKER_WITHIN = 30.0  # s until a worker that ended is replaced
HALF_HEADS = 60  # connections
SUBSCRIBERS = 10
OPENINGS = 5
SLOW_EVERY = 0.2  # s between the messages that a slow reader reads
MOST_BEHIND = 2.0  # s that a slow reader may be behind
CAMERA, CLIP, PEER = "camera", "clip", "peer"  # the sessions that must always come back


@dataclass
class Surroundings:
    """Hold what faults act on."""

    service: Service
    redis: RedisProcess
    reader: RedisReader
    camera: Camera
    peer: PeerProcess
    silent_host: SilentHost
    furthest_behind: float = 0.0  # s; the oldest event that a slow reader got, after its first second


Fault = Callable[[Surroundings], None]


class WentWrong(Exception):
    """Report something wrong that a fault revealed, in a sentence."""


def worker_killed(around: Surroundings) -> None:
    """Kill the youngest worker."""
    youngest(around.service).kill()


def worker_stopped(around: Surroundings) -> None:
    """Stop the youngest worker for good, as a driver that hangs does."""
    youngest(around.service).send_signal(signal.SIGSTOP)


def workers_all_killed(around: Surroundings) -> None:
    """Kill all workers at once."""
    for worker in around.service.workers():
        worker.kill()


def redis_killed(around: Surroundings) -> None:
    """Kill Redis and start it again."""
    around.redis.kill()
    time.sleep(HOLD)
    around.redis.start()


def redis_stopped(around: Surroundings) -> None:
    """Let Redis hang, so that connections are open and nothing is answered."""
    with continued(around.redis):
        time.sleep(HOLD)


def redis_full(around: Surroundings) -> None:
    """Let Redis refuse events for want of memory."""
    around.redis.client.config_set("maxmemory", 1)
    time.sleep(HOLD)
    around.redis.client.config_set("maxmemory", 0)


def redis_other_type(around: Surroundings) -> None:
    """Put something else under the key of a session's stream; what is refused meanwhile must be counted."""
    client, stream, aside = around.redis.client, f"affect:{CLIP}", "aside"
    with around.reader.lock:
        with client.pipeline(transaction=True) as pipeline:
            pipeline.rename(stream, aside)
            pipeline.set(stream, "something else")
            pipeline.execute()
        around.reader.read(stream, aside)
    time.sleep(HOLD)
    client.delete(stream, aside)


def camera_lost(around: Surroundings) -> None:
    """Let the network camera hang up and refuse connections."""
    around.camera.lost.set()
    time.sleep(HOLD)
    around.camera.lost.clear()


def camera_silent(around: Surroundings) -> None:
    """Let the network camera send nothing over a connection that stays open."""
    around.camera.silent.set()
    time.sleep(HOLD)
    around.camera.silent.clear()


def peer_killed(around: Surroundings) -> None:
    """Kill the WHIP peer; another one comes under its name."""
    around.peer.kill()
    around.peer.restart()


def slow_reader(around: Surroundings) -> None:
    """Read the stream slowly, and leave without closing the connection."""
    with _tcp(around.service, receive_buffer=4096) as connection:
        began = time.monotonic()
        url = f"ws://{around.service.host}/v1/stream"
        with (
            contextlib.suppress(ConnectionClosed, OSError, TimeoutError),
            connect(url, sock=connection, max_queue=1, compression=None, close_timeout=0.1) as stream,
        ):
            while time.monotonic() - began < 2 * HOLD:
                event = orjson.loads(stream.recv(timeout=HOLD))
                if event["captured_at"] is not None and time.monotonic() - began > 1.0:
                    around.furthest_behind = max(around.furthest_behind, _age(event["captured_at"]))
                time.sleep(SLOW_EVERY)
            _break(connection)


def subscribers_vanish(around: Surroundings) -> None:
    """Let subscribers come, read one event each, and break their connections."""
    for _ in range(SUBSCRIBERS):
        with _tcp(around.service) as connection:
            url = f"ws://{around.service.host}/v1/stream"
            with (
                contextlib.suppress(ConnectionClosed, OSError, TimeoutError),
                connect(url, sock=connection, compression=None, close_timeout=0.1) as stream,
            ):
                stream.recv(timeout=HOLD)
                _break(connection)


def half_heads(around: Surroundings) -> None:
    """Hold many connections with half of a request's head each; health checks must be answered meanwhile."""
    with contextlib.ExitStack() as stack:
        for _ in range(HALF_HEADS):
            connection = stack.enter_context(_tcp(around.service))
            connection.sendall(b"GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nX-Half: ")
        status = httpx.get(f"http://{around.service.host}/healthz", timeout=HOLD).status_code
        if status != 200:
            raise WentWrong(f"/healthz answered {status} while {HALF_HEADS} connections held half a head")
        time.sleep(HOLD)


def deleted_while_opening(around: Surroundings) -> None:
    """Open sessions on a host that never answers, and delete them at the same time."""
    _open_and_delete(around)
    _check_disconnected(around)


def worker_killed_while_opening(around: Surroundings) -> None:
    """Kill the youngest worker while sessions are opened and deleted."""
    deleting = threading.Thread(target=_open_and_delete, args=(around,))
    deleting.start()
    worker_killed(around)
    deleting.join()
    _check_disconnected(around)


def worker_and_redis_killed(around: Surroundings) -> None:
    """Kill the youngest worker while Redis is away."""
    around.redis.kill()
    worker_killed(around)
    time.sleep(HOLD)
    around.redis.start()


FAULTS: tuple[Fault, ...] = (
    worker_killed, redis_killed, camera_lost, slow_reader, peer_killed, redis_other_type, worker_stopped, half_heads,
    deleted_while_opening, redis_full, camera_silent, subscribers_vanish, worker_and_redis_killed, redis_stopped,
    worker_killed_while_opening,
)  # fmt: skip


def _open_and_delete(around: Surroundings) -> None:
    """Open sessions on the silent host from threads, and delete them before they are open, or just after."""
    client, url = around.service.client, around.silent_host.url
    for number in range(OPENINGS):
        name = f"opening-{number}"
        opening = threading.Thread(target=_open, args=(around.service.host, url, name))
        opening.start()
        time.sleep(0.01 * number)
        client.delete(f"/v1/sessions/{name}")
        opening.join()
        client.delete(f"/v1/sessions/{name}")  # where the first came before it was listed


def _check_disconnected(around: Surroundings) -> None:
    """Raise `WentWrong` if a deleted session's source is connected for longer than FFmpeg needs to give up."""
    deadline = time.monotonic() + Timeouts().open + HOLD
    while open_ones := around.silent_host.open_connections():
        if time.monotonic() > deadline:
            raise WentWrong(f"{open_ones} sources of deleted sessions are still connected")
        time.sleep(0.1)


def youngest(service: Service) -> psutil.Process:
    """Return the youngest worker, once there are two: the oldest is left alone, so that its memory can be watched."""
    deadline = time.monotonic() + WORKER_WITHIN
    while len(workers := service.workers()) < 2:
        if time.monotonic() > deadline:
            raise WentWrong(f"no second worker was started within {WORKER_WITHIN:g} s")
        time.sleep(0.1)
    return workers[-1]


def _open(host: str, source: str, name: str) -> None:
    """Open a session, which may be refused or closed meanwhile."""
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(f"http://{host}/v1/sessions", json={"source": source, "name": name}, timeout=WORKER_WITHIN)


def _age(captured_at: str) -> float:
    """Return the seconds since that moment."""
    return time.time() - datetime.fromisoformat(captured_at).timestamp()


@contextlib.contextmanager
def _tcp(service: Service, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """Yield a connection to the service; at the end it is broken (RST), not closed."""
    with socket.socket() as connection:
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(10.0)
        connection.connect(("127.0.0.1", service.port))
        try:
            yield connection
        finally:
            _break(connection)


def _break(connection: socket.socket) -> None:
    """Let the end of `connection` be a break (RST), and end the thread that reads, without a packet to the service."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
