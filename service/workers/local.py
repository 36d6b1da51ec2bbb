"""Worker programs as child processes of this one, each on a core of its own."""

import asyncio
import contextlib
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

from engines.cores import usable_cores
from service.settings import Settings
from service.workers.handle import passed_settings
from service.workers.heartbeat import START_SILENCE, is_beat
from service.workers.launcher import HERE
from service.workers.leases import Leases, NoLeases
from service.workers.relay import READY, read_message

_FOLDER = "affectstream"  # how the names of the folders with the workers' sockets begin
_LONGEST_FOLDER = 60  # characters; the path of a socket may have about a hundred


class Program:
    """Run the worker program as a child process, read its messages from a pipe, and end it."""

    def __init__(self, given: dict[str, Any], keep_open: tuple[int, ...] = ()) -> None:
        """Start it with `given` as its first line of input, and with the open files `keep_open`."""
        self._process = subprocess.Popen(
            # -P: a folder named "models" or "service" in the working directory is not imported in place of ours.
            [sys.executable, "-P", "-m", "service.workers.main"],
            # Two arenas of malloc for all threads of a worker: by default each thread has its own, and keeps what it
            # freed. That takes about 25 MB off a worker with one session.
            env={"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", **os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # no message may stay behind in a buffer when the loop takes over the reading
            start_new_session=True,  # Ctrl-C in a terminal is for the service in front, which ends its workers
            pass_fds=keep_open,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self.output = self._process.stdin, self._process.stdout
        self._starting = threading.Lock()  # held while `wait_ready` reads the output
        with contextlib.suppress(BrokenPipeError):  # it has ended already: `wait_ready` returns the reason
            self._input.write(json.dumps(given).encode() + b"\n")

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.poll() is None

    def wait_ready(self, heard: Callable[[bytes], None]) -> str | None:
        """Read messages until the one that says that the program takes sessions; return why it does not, if so.

        `heard` is called with each beat.
        """
        poll = select.poll()
        with self._starting:
            if self.output.closed:  # the worker is not wanted any more
                return "the worker process was ended while it started"
            poll.register(self.output, select.POLLIN)
            while poll.poll(START_SILENCE * 1e3):
                body = read_message(self.output)
                if body == READY:
                    return None
                if body is not None and is_beat(body):
                    heard(body)
                    continue
                reason = body.decode() if body else None
                return reason or f"a worker process did not start ({self.how_it_ended()}); its log holds the reason"
        self.kill()
        return f"a worker process gave no sign of life for {START_SILENCE:g} s while it started, and was ended"

    def how_it_ended(self) -> str:
        """Return how the process ended, for people. Blocks until it has."""
        code = self._process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def end(self, timeout: float) -> None:
        """Wait for the process's end, and end it by force after `timeout` seconds. Blocks."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    def close_output(self) -> None:
        """Close the output of a process that has ended. Blocks until `wait_ready` has read it to its end."""
        with self._starting:
            self.output.close()


class LocalWorkerProcess:
    """Run a worker program on this machine; see `service.workers.launcher.WorkerProcess`."""

    node = HERE

    def __init__(self, settings: Settings, number: int, core: int, path: Path) -> None:
        """Start the program on the core of that number; it will answer on the socket `path`."""
        self.id = f"{os.getpid()}-{number}"
        self.core: int | None = core
        self._path = str(path)
        # What all of them log at their start is logged once.
        level = "WARNING" if number else "INFO"
        given = {"settings": passed_settings(settings), "socket": self._path, "core": core, "log_level": level}
        self._program = Program(given)
        self._read_by_loop = False  # then the loop closes the output

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._program.pid

    @property
    def running(self) -> bool:
        """Return whether the process has not ended."""
        return self._program.running

    def wait_ready(self, heard: Callable[[bytes], None]) -> str | None:
        """Return when the process takes sessions, or why it does not. Blocks; `heard` is called with each beat."""
        return self._program.wait_ready(heard)

    @contextlib.asynccontextmanager
    async def messages(self) -> AsyncIterator[asyncio.StreamReader]:
        """Read the process's output in the loop."""
        self._read_by_loop = True
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._program.output)
        try:
            yield reader
        finally:
            transport.close()

    def client(self, timeout: float) -> httpx.Client:
        """Return a client of the process's HTTP routes."""
        return httpx.Client(transport=httpx.HTTPTransport(uds=self._path), base_url="http://localhost", timeout=timeout)

    def async_client(self, timeout: float) -> httpx.AsyncClient:
        """Return a client of the process's HTTP routes for the loop."""
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self._path), base_url="http://localhost", timeout=timeout
        )

    def how_it_ended(self) -> str:
        """Return how the process ended, for people. Blocks until it has."""
        return self._program.how_it_ended()

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        self._program.ask_to_end()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._program.kill()

    def end(self, timeout: float) -> None:
        """End the process, by force after `timeout` seconds. Blocks."""
        self._program.end(timeout)
        if not self._read_by_loop:
            self._program.close_output()


class LocalLauncher:
    """Start workers on this machine; see `service.workers.launcher.Launcher`."""

    # A process that starts here begins or fails, however busy the machine is. A session that went to another worker
    # meanwhile would share a core for as long as it lives.
    new_worker_within = math.inf

    def __init__(self, settings: Settings, most: int) -> None:
        """Allow `most` workers at once. Start nothing yet."""
        self.leases: Leases = NoLeases()
        self._settings = settings
        self._most = most
        self._cores = usable_cores()
        self._processes: list[LocalWorkerProcess] = []
        self._folder = _folder_for_sockets()

    def start(self, number: int, node: str | None) -> LocalWorkerProcess:
        """Start a worker on a core that no other has, if there is one."""
        in_use = {process.core for process in self._processes if process.running}
        free = [core for core in self._cores if core not in in_use]
        core = free[0] if free else self._cores[number % len(self._cores)]
        process = LocalWorkerProcess(self._settings, number, core, self._folder / str(number))
        self._processes = [*(one for one in self._processes if one.running), process]
        return process

    def most(self) -> int:
        """Return how many workers may run at once."""
        return self._most

    def has_room(self) -> bool:
        """Return True: a process can always be started."""
        return True

    def node_of(self, source: str) -> tuple[str, str | None]:
        """Return the source as it is: there is one machine."""
        return source, None

    def avoid(self, node: str) -> None:
        """Do nothing: there is one machine."""

    def watch(self, drained: Callable[[str], None]) -> None:
        """Do nothing: this machine does not leave before this process."""

    def close(self) -> None:
        """Remove the sockets."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _folder_for_sockets() -> Path:
    """Return a new folder of this process; those of processes that were killed are removed."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_FOLDER:
        parent = Path("/tmp")  # noqa: S108
    for left in parent.glob(f"{_FOLDER}-*-*"):
        number = left.name.split("-")[1]
        if number.isdecimal() and not _runs(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-{os.getpid()}-", dir=parent))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
