"""The process that reads recordings: `python -P -m service.archive.reader_process`, started by `reader` alone.

Standard input carries one line of JSON for each recording, standard output one for each answer; the process ends with
its input.
"""

import json
import logging
import os
import queue
import shutil
import sys
import threading
from typing import IO, Any

from models.errors import UserError


def main() -> int:
    """Answer for each recording on standard input until it ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the answers
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    given = json.loads(sys.stdin.buffer.readline())
    if given["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, given["cores"])
    # Imported after the cores were chosen: libraries count them when they are imported.
    from service.archive.task import Reading, Task, read_one
    from service.provenance import Input, about
    from service.runtime import load_runtime

    tasks: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, tasks), daemon=True).start()
    reading = Reading(**given["reading"])
    try:
        runtime = load_runtime(reading.runtime_options())
    except UserError as error:
        _write(out, {"error": str(error)})
        return 2
    _write(out, {"facts": about(runtime, Input(""), {}), "licences": runtime.licences()})
    while True:
        fields = json.loads(tasks.get())
        task = Task(**{**fields, "markers": [(t, label) for t, label in fields["markers"]]})
        _write(out, read_one(runtime, reading, task))


def _receive(stream: IO[bytes], tasks: queue.Queue[bytes]) -> None:
    """Queue the lines of `stream`, and end this process with it, so that no reader outlives its parent."""
    for line in stream:
        tasks.put(line)
    shutil.rmtree(os.environ.get("TMPDIR", ""), ignore_errors=True)
    os._exit(0)


def _write(out: IO[bytes], answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer, allow_nan=False).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
