"""Real reverse proxies on a free port, with the blocks of docs/operations.md in their configuration."""

import getpass
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.daemon import Daemon
from helpers.redis_server import free_port
from helpers.repository import ROOT

HOST = "lab.example"  # what the blocks serve


def blocks(language: str) -> list[str]:
    """The configuration blocks of the page in that language."""
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def found(name: str, package: str) -> str:
    """The path of a program; skips the test where it is missing."""
    binary = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip(f"needs {name}; install it: sudo apt-get install {package}")
    return binary


@contextmanager
def _running(command: list[str], port: int) -> Iterator[str]:
    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    daemon = Daemon(command, answers)
    daemon.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        daemon.stop(gently=True)


@contextmanager
def nginx(folder: Path, service: int) -> Iterator[str]:
    """nginx in front of the service on that port; gives its address."""
    binary, port = found("nginx", "nginx-light"), free_port()
    within_http, within_server = blocks("nginx")
    within_server = within_server.replace("127.0.0.1:8000", f"127.0.0.1:{service}")
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{part}_temp_path {folder}/{part};" for part in parts)
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}\npid {folder}/nginx.pid;\nerror_log stderr;\nworker_processes 1;\nevents {{ }}\nhttp {{\n"
        f"access_log off;\n{temporary}\n{within_http}\nserver {{\nlisten 127.0.0.1:{port};\n{within_server}\n}}\n}}\n"
    )
    command = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with _running(command, port) as url:
        yield url


@contextmanager
def caddy(folder: Path, service: int) -> Iterator[str]:
    """Caddy in front of the service on that port; gives its address."""
    binary, port = found("caddy", "caddy"), free_port()
    (block,) = blocks("caddyfile")
    block = block.replace("127.0.0.1:8000", f"127.0.0.1:{service}").replace(HOST, f"http://127.0.0.1:{port}")
    (folder / "Caddyfile").write_text(f"{{\nadmin off\nauto_https off\n}}\n{block}")
    homes = [f"XDG_CONFIG_HOME={folder}", f"XDG_DATA_HOME={folder}"]
    command = ["env", *homes, binary, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with _running(command, port) as url:
        yield url
