"""A real MQTT broker on a free port with a folder of its own; started, stopped and started again by the test."""

import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.daemon import Daemon
from helpers.redis_server import free_port


class Mosquitto(Daemon):
    """One mosquitto process; with a user and password where they are given."""

    def __init__(self, binary: str, folder: Path, user: str = "", password: str = "") -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if user else 'true'}"]
        lines.append(f"user {getpass.getuser()}")  # else root would become a user who may not read the folder
        if user:
            passwords = folder / "passwords"
            passwords.touch(0o600)
            tool = shutil.which("mosquitto_passwd") or "mosquitto_passwd"
            subprocess.run([tool, "-b", str(passwords), user, password], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        config.write_text("\n".join(lines) + "\n")
        super().__init__([binary, "-c", str(config)], self._accepts)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def mosquitto_in(folder: Path, user: str = "", password: str = "") -> Iterator[Mosquitto]:
    """A broker that was not started yet; skips the test where there is none."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("needs mosquitto; install it: sudo apt-get install mosquitto")
    broker = Mosquitto(binary, folder, user, password)
    try:
        yield broker
    finally:
        broker.stop()
