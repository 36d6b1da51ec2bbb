"""Reads every file of a folder as `analyze` opens it, in a process of its own: `python read_media.py FOLDER`.

Writes a line of JSON for each file before and after it is read, and the most memory that was used at the end. What is
no `UserError` is a fault.
"""

import json
import sys
import threading
import time
from itertools import islice
from pathlib import Path

from models.errors import UserError
from service.capture.open import open_source

ITEMS = 300  # of a file


def main(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        tell(begun=path.name)
        began, said = time.process_time(), ""
        try:
            items = [*islice(open_source(str(path), realtime=False).read(threading.Event()), ITEMS)]
            said = f"{len(items)} items"
        except UserError as error:
            said = str(error)
        tell(file=path.name, said=said, cpu=time.process_time() - began)
    tell(most_mb=most_memory())


def most_memory() -> float:
    """Megabytes; `resource.getrusage` would count what the process that started this one used before."""
    (line,) = (line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
