"""Read the results of an archive as the readings that a report draws."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import UserError
from service.archive import storage
from service.archive.task import Task
from service.provenance import SUFFIX
from service.report.readings import Readings, of_parquet


def read_results(tasks: Sequence[Task], rows: Mapping[str, Mapping[str, Any]]) -> list[Readings]:
    """Return the readings of those of `tasks` whose result is there by the manifest's `rows`.

    Raise `UserError` if a result cannot be read.
    """
    found = []
    for task in tasks:
        if task.name not in rows or rows[task.name]["state"] != "done":
            continue
        facts = json.loads(storage.read_text(task.result + SUFFIX) or "{}")
        with storage.on_this_machine(task.result) as path:
            try:
                found.append(of_parquet(path, task.name, facts))
            except (OSError, ValueError, KeyError) as error:
                raise UserError(
                    f"{storage.shown(task.result)} cannot be read ({error}); remove it and run again"
                ) from error
    return found
