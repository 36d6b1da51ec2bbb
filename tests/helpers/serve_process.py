"""`affectstream serve` as a process."""

import contextlib
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import psutil
from helpers.live_server import PURPOSE
from helpers.redis_server import free_port

PATIENCE = 180.0  # s after which a test gives up waiting


def environment_of(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `changes`, and with a purpose for the sessions that a test is not about.

    They read 10 pictures a second: at 30, those that run beside a test took most of the CPU time of its file.
    """
    return {"AFFECTSTREAM_PURPOSE": PURPOSE, "AFFECTSTREAM_RATE": "10", **os.environ, **changes}


# The command, with workers that count as hung only after a minute.
PATIENT = f"""
import sys
from service.cli import main
from service.workers import fleet, handle
fleet.HUNG_AFTER = handle.HUNG_AFTER = handle.SILENT_AFTER = {PATIENCE}
sys.exit(main(sys.argv[1:]))
"""


class Process:
    """The command in a process of its own, over TLS where `tls` names the folder of `cert.pem` and `key.pem`.

    Where it is `patient`, a worker that is stopped does not count as hung.
    """

    def __init__(self, *options: str, tls: Path | None = None, patient: bool = False, **environment: str) -> None:
        self.port = free_port()
        self.tls = ssl.create_default_context(cafile=tls / "cert.pem") if tls else None
        program = ["-c", PATIENT] if patient else ["-m", "service.cli"]
        command = [sys.executable, *program, "serve", "--port", str(self.port), *options]
        if tls:
            command += ["--tls-cert", str(tls / "cert.pem"), "--tls-key", str(tls / "key.pem")]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment_of(environment),
        )

    def client(self) -> httpx.Client:
        scheme = "https" if self.tls else "http"
        verify = self.tls if self.tls is not None else True
        return httpx.Client(base_url=f"{scheme}://localhost:{self.port}", verify=verify, timeout=PATIENCE)

    def wait(self, client: httpx.Client) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/healthz").status_code == 200:
                    return
            assert self._process.poll() is None, self._process.communicate()[0].decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self._process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, the oldest first."""
        found = []
        for child in self.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, too
                if "service.workers.main" in child.cmdline():
                    found.append((child.create_time(), child))
        return [child for _, child in sorted(found, key=lambda one: one[0])]

    def stop(self, number: int) -> tuple[int, str]:
        """Exit code and everything that was printed."""
        self._process.send_signal(number)
        output, _ = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, output.decode()

    def kill(self) -> None:
        if self._process.poll() is None:
            for child in self.children():  # one that was stopped would keep the output open
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self._process.kill()
            self._process.communicate()


@contextlib.contextmanager
def process(*options: str, tls: Path | None = None, patient: bool = False, **environment: str) -> Iterator[Process]:
    running = Process(*options, tls=tls, patient=patient, **environment)
    try:
        yield running
    finally:
        running.kill()
