"""What a soak puts around the service: a clip, a camera, a silent host, Redis, a WHIP peer, and the service itself."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import httpx
import psutil
from redis import Redis
from redis.exceptions import RedisError

from engines.errors import UserError
from service.bench.clip import write_demo

SECONDS = 6  # length of the clip; its sound repeats after as many
FPS = 10
WIDTH, HEIGHT = 320, 180  # pixels
START_TIMEOUT = 180.0  # s until the service is ready; the first start on a machine fetches weights
LOG_KEPT = 20_000  # lines
_BOUNDARY = b"--frame\r\n"


def encode_clip(path: Path) -> list[bytes]:
    """Write the demo at 10 frames/s and 320x180 with its sound as MP4, and return its pictures as JPEG."""
    pictures = write_demo(path, seconds=SECONDS, fps=FPS, size=(WIDTH, HEIGHT), group=FPS)
    return [cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes() for image in pictures]


class Camera:
    """Send pictures by HTTP, one JPEG after the other, as a network camera does; it can be lost, or fall silent."""

    def __init__(self, pictures: list[bytes]) -> None:
        """Answer on a free port of loopback from now on."""
        self.lost = threading.Event()
        self.silent = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._send(self)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._pictures = pictures
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Return the address of the pictures."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/live.mjpg"

    def close(self) -> None:
        """Answer no more."""
        self.lost.set()
        self._server.shutdown()
        self._server.server_close()

    def _send(self, request: BaseHTTPRequestHandler) -> None:
        if self.lost.is_set():
            request.send_error(503)
            return
        request.send_response(200)
        request.send_header("content-type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        began, number = time.monotonic(), 0
        with contextlib.suppress(OSError):  # the reader has gone
            while not self.lost.wait(max(0.0, began + number / FPS - time.monotonic())):
                if not self.silent.is_set():
                    picture = self._pictures[number % len(self._pictures)]
                    head = b"content-type: image/jpeg\r\ncontent-length: %d\r\n\r\n" % len(picture)
                    request.wfile.write(_BOUNDARY + head + picture + b"\r\n")
                number += 1


class SilentHost:
    """Take connections and never answer, so that opening a source there takes long."""

    def __init__(self) -> None:
        """Listen on a free port of loopback from now on."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Return an address there."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/nothing.mjpg"

    def open_connections(self) -> int:
        """Return how many connections the other sides have not closed."""
        count = 0
        for connection in [*self._connections]:
            with contextlib.suppress(OSError):
                connection.setblocking(False)
                try:
                    while connection.recv(4096):
                        pass
                    connection.close()
                    self._connections.remove(connection)
                except BlockingIOError:
                    count += 1
        return count

    def close(self) -> None:
        """Take no more connections, and close those that are open."""
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self._connections.append(self._listener.accept()[0])


class RedisProcess:
    """Run a Redis server on a free port of loopback; what it holds outlives its process."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet. Raise `UserError` without the program `redis-server`."""
        program = shutil.which("redis-server")
        if program is None:
            raise UserError("bench soak needs the program redis-server; install it: sudo apt-get install redis-server")
        self._port = free_port()
        self._command = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client: Redis = Redis(port=self._port, decode_responses=True, socket_timeout=2.0)

    def start(self) -> None:
        """Start the server and return once it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            with contextlib.suppress(RedisError):
                if self.client.ping():
                    return
            time.sleep(0.05)
        raise UserError("redis-server did not answer within 10 s")

    def kill(self) -> None:
        """End the server as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.client.connection_pool.disconnect()

    def send_signal(self, number: int) -> None:
        """Send the server a signal."""
        if self._process is not None:
            self._process.send_signal(number)


class Service:
    """Run `serve` in a process of its own, with two workers, and keep what it logs."""

    def __init__(self, redis: RedisProcess, sources: dict[str, str], folder: Path) -> None:
        """Start the service on the `sources` by session name; its temporary files lie in `folder`."""
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        command = [sys.executable, "-P", "-m", "service.cli", "serve", "--port", str(self.port), "--workers", "2"]
        command += ["--purpose", "research"]
        command += ["--redis", redis.url, "--allowed-sources", "http:"]
        for name, source in sources.items():
            command += ["--source", f"{name}={source}"]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        self.log: list[str] = []
        self.lines = 0  # logged so far, without what is for information alone
        self.tracebacks = 0
        threading.Thread(target=self._read_log, daemon=True).start()
        self.client = httpx.Client(base_url=f"http://{self.host}", timeout=10.0)

    def wait(self) -> None:
        """Return once the service is ready. Raise `UserError` if it ends, or is not ready in time."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/readyz").status_code == 200:
                    return
            time.sleep(0.1)
        raise UserError(f"the service did not start: {' '.join(self.log[-3:])}")

    @property
    def front(self) -> psutil.Process:
        """Return the front process."""
        return psutil.Process(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes that run, the oldest first."""
        found: list[tuple[float, psutil.Process]] = []
        for child in self.front.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "service.workers.main" in child.cmdline():
                    found.append((child.create_time(), child))
        return [child for _, child in sorted(found, key=lambda one: one[0])]

    def stop(self) -> int | None:
        """Stop the service in order and return its exit code; None if it had to be killed."""
        self.client.close()
        self._process.terminate()
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            for child in self.front.children():
                child.kill()
            self._process.kill()
            self._process.wait()
            return None

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                self.lines += " INFO " not in text
                self.tracebacks += text.startswith("Traceback")
                self.log.append(text)
                del self.log[:-LOG_KEPT]


class PeerProcess:
    """Run a WHIP peer in a process of its own, which can be killed without closing its connection."""

    def __init__(self, host: str, name: str, clip: Path) -> None:
        """Send the clip as session `name` from now on."""
        self._command = [sys.executable, "-P", "-m", "service.bench.soak.peer", f"http://{host}", name, str(clip)]
        self._process = self._start()

    def kill(self) -> None:
        """End the peer as a crash would."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start a new peer that sends under the same name."""
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def continued(process: Any) -> Iterator[None]:
    """Stop `process` (anything with `send_signal`) inside the block, as a machine that hangs does."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.send_signal(signal.SIGCONT)


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
