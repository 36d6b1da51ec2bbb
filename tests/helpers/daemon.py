"""A server of somebody else's as a process: started, killed and started again by the test."""

import subprocess
import time
from collections.abc import Callable

START_TIMEOUT = 60.0  # s


class Daemon:
    """One process of a server that answers some time after its start."""

    def __init__(self, command: list[str], answers: Callable[[], bool]) -> None:
        self.command = command
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        self._process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            assert self._process.poll() is None, f"{self.command[0]} ended at once"
            assert time.monotonic() < deadline, f"{self.command[0]} did not answer"
            time.sleep(0.02)

    def stop(self, *, gently: bool = False) -> None:
        """Kills it, as a crash would; `gently` asks it to end, which one with processes of its own needs."""
        if self._process is not None:
            self._process.terminate() if gently else self._process.kill()
            self._process.wait()
            self._process = None
