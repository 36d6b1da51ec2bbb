"""`affectstream bench cluster`: what a Ray cluster adds, on nodes that are all this machine."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from models.errors import UserError
from service.bench import machine
from service.bench.cluster import archive, pools, workers

PACKAGES = ("ray", "numpy", "openvino")
TURNS = 10  # so many nodes are lost, as many drained, and as many shut down
CLIPS = 200  # of the archive
PARTS = ("streams", "gaps", "archive", "pools")

log = logging.getLogger(__name__)


def cluster(parts: Sequence[str] = PARTS, turns: int = TURNS, clips: int = CLIPS) -> dict[str, Any]:
    """Return the report of `parts`, each measured by itself one after the other.

    A part that fails is named in the sentences of `missed`, and the others are measured all the same. Raise `UserError`
    without Ray, and for a number below 1 or an archive of fewer than 4 clips.
    """
    try:
        import ray
    except ImportError:
        raise UserError("bench cluster needs Ray: pip install 'affectstream[cluster]'.") from None
    if turns < 1 or clips < 4:
        raise UserError(f"--turns {turns} --clips {clips} is too little to measure; give at least 1 and 4")
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "streams": workers.streams,
        "gaps": lambda: workers.gaps(turns),
        "archive": lambda: archive.measure(clips),
        "pools": pools.measure,
    }
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    found: dict[str, Any] = {"machine": machine.facts(PACKAGES)}
    seconds: dict[str, int] = {}
    missed = []
    for part in (part for part in PARTS if part in parts):
        log.info("measuring %s", part)
        begin = time.monotonic()
        try:
            found |= measures[part]()
        except (UserError, OSError, TimeoutError, ray.exceptions.RayError) as error:
            missed.append(f"bench cluster: the part {part} was not measured to its end: {error}")
        seconds[part] = round(time.monotonic() - begin)
    facts = {"load after": machine.facts(())["load"], "seconds of each part": seconds}
    return {**found, "machine": found["machine"] | facts, "missed": missed}
