"""Recordings read by a Ray cluster: Ray Data maps the function of one recording, one recording a task.

Each of its actors holds a process that reads (`reader.Reader`), as a job on one machine does. So a recording that
kills that process costs neither the actor nor the run. If a node is lost, Ray reads its recordings on another one.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from models.errors import UserError
from service.archive import storage
from service.archive.inputs import is_source
from service.archive.reader import Reader
from service.archive.task import Finished, Reading, Task


class ClusterReader:
    """Read the recordings that Ray Data hands to one of its actors."""

    def __init__(self, reading: Mapping[str, Any]) -> None:
        """Prepare a reader; its process starts with the first recording."""
        self._reader = Reader(Reading(**reading))

    def __call__(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Return the answer about one recording, or why no recording can be read, as JSON."""
        task = _task(row["task"])
        try:
            return {"task": row["task"], "answer": json.dumps(self._reader.read(task)), "refused": ""}
        except UserError as error:
            return {"task": row["task"], "answer": "", "refused": str(error)}


def read_all(tasks: Sequence[Task], reading: Reading, address: str, jobs: int | None) -> Iterator[Finished]:
    """Yield each task with what came of it (see `task.read_one`), in the order in which they are done.

    `jobs` recordings are read at once, each on a CPU of its own; None takes all CPUs that the cluster has now. Raise
    `UserError` without Ray, without a cluster at `address`, or if the model cannot be loaded there.
    """
    from service.cluster import check_guarded, connect

    ray = connect(address)
    check_guarded(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
    from ray import data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells each execution's begin and end
    context = data.DataContext.get_current()
    context.enable_progress_bars = False  # ours counts recordings and hours
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    size = max(1, min(len(tasks), jobs or int(ray.cluster_resources().get("CPU", 1))))
    rows = [{"task": json.dumps(asdict(_everywhere(task)))} for task in tasks]
    reader: Any = ClusterReader  # Ray's annotations know functions alone
    answers = data.from_items(rows, override_num_blocks=len(rows)).map(
        reader,
        fn_constructor_args=(asdict(reading),),
        # No recording waits at a reader: the next one goes to the first reader that is free.
        compute=data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
    )
    for row in answers.iter_rows():
        if row["refused"]:
            raise UserError(row["refused"])
        yield _task(row["task"]), json.loads(row["answer"])


def _everywhere(task: Task) -> Task:
    """Return the task with paths that mean the same in every folder; nodes start their processes in their own."""

    def absolute(place: str) -> str:
        return place if storage.is_address(place) or is_source(place) else str(Path(place).absolute())

    return replace(task, place=absolute(task.place), out=absolute(task.out))


def _task(text: str) -> Task:
    fields = json.loads(text)
    return Task(**{**fields, "markers": [(t, label) for t, label in fields["markers"]]})
