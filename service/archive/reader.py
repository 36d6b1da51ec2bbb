"""A process that reads recordings one after the other (`reader_process`), as its parent handles it.

A recording that kills it, by a fault of a decoder or for want of memory, costs that recording alone: the parent notes
it and starts another process.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from models.errors import UserError
from service.archive.task import Reading, Task, failed, options
from service.printable import printable

_LINE = b"\n"


class Reader:
    """Hold one process that reads recordings; driven by one thread, ended by any.

    Attributes:
        facts: What the process said of itself when it was ready: the facts of a result that do not depend on it.
    """

    def __init__(self, reading: Reading, cores: Sequence[int] = ()) -> None:
        """Prepare a reader that runs on `cores` alone; none means on all."""
        self.facts: dict[str, Any] = {}
        self._reading = reading
        self._cores = list(cores)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""
        self._ended = False

    def start(self) -> None:
        """Start the process and load the model. Raise `UserError` if that fails."""
        self._folder = tempfile.mkdtemp(prefix="affectstream-")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.archive.reader_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"OPENBLAS_NUM_THREADS": "1", **os.environ, "TMPDIR": self._folder},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its readers
        )
        self._send({"reading": asdict(self._reading), "cores": self._cores})
        answer = self._answer()
        if answer is None:
            raise UserError(f"the process that reads recordings ended at its start ({self._death()}); see above")
        if "error" in answer:
            self.end()
            raise UserError(answer["error"])
        self.facts = answer["facts"]

    def read(self, task: Task) -> dict[str, Any]:
        """Return what came of a recording (see `read_one`), also where it killed the process.

        Raise `UserError` if the process cannot be started.
        """
        if self._ended:
            raise KeyboardInterrupt
        if self._process is None:
            self.start()
        self._send(asdict(task))
        answer = self._answer()
        if answer is not None:
            return answer
        if self._ended:
            raise KeyboardInterrupt
        death = self._death()
        of = {"name": printable(task.place), "sha256": None, "bytes": None, "modified": None}
        facts = {**self.facts, "input": of, "options": options(self._reading, task)}
        return failed(
            facts, task, f"{printable(task.place)}: the process that read it died ({death}); the others go on"
        )

    def end(self) -> None:
        """End the process; what it was reading is given up."""
        self._ended = True
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            _close(process)
        self._clear()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: the answer will be missing
            self._process.stdin.write(json.dumps(message).encode() + _LINE)
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any] | None:
        """Return the next answer; None if the process ended."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        return dict(json.loads(line)) if line.endswith(_LINE) else None

    def _death(self) -> str:
        """Return how the process ended, in words, and forget it."""
        process, self._process = self._process, None
        code = 0
        if process is not None:
            code = process.wait()
            _close(process)
        self._clear()
        return f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"status {code}"

    def _clear(self) -> None:
        folder, self._folder = self._folder, ""
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError, ValueError):  # what was not sent yet goes nowhere
                pipe.close()
