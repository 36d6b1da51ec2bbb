"""A real Redis on a free port with a folder of its own; started, stopped and started again by the test."""

import contextlib
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.daemon import Daemon

PORTS = range(20_000, 32_768)  # below those that systems give to outgoing connections and to who asks for any port


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now, and that nobody is given by chance before it is used."""
    while True:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer(Daemon):
    """One redis-server process; its streams survive `stop` and `start`."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        super().__init__(command, self._pong)

    def cluster(self) -> None:
        """Be a node of a Redis Cluster from the next start on."""
        self.command += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]

    def _pong(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def redis_in(folder: Path) -> Iterator[RedisServer]:
    """A server that was not started yet; skips the test where there is none."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("needs redis-server; install it: sudo apt-get install redis-server")
    server = RedisServer(binary, folder)
    try:
        yield server
    finally:
        server.stop()
