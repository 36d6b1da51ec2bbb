"""Read the results of an archive as the readings that a report draws."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import UserError
from service.archive import storage
from service.archive.task import Task
from service.provenance import SCHEMA, SUFFIX
from service.report.readings import Readings, of_parquet


def read_results(tasks: Sequence[Task], rows: Mapping[str, Mapping[str, Any]]) -> list[Readings]:
    """Return the readings of those of `tasks` whose result is there by the manifest's `rows`.

    Raise `UserError` if a result cannot be read.
    """
    found = []
    for task in tasks:
        if task.name not in rows or rows[task.name]["state"] != "done":
            continue
        text = storage.read_text(task.result + SUFFIX)
        with storage.on_this_machine(task.result) as path:
            try:
                found.append(of_parquet(path, task.name, {} if text is None else _facts(text)))
            except (OSError, ValueError, KeyError) as error:
                raise UserError(
                    f"{storage.shown(task.result)} cannot be read ({error}); remove it and run again"
                ) from error
    return found


def _facts(text: str) -> dict[str, Any]:
    """Return what the text beside a result says of it. Raise `ValueError` if another version wrote it, or none."""
    facts = json.loads(text)
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise ValueError(f"the file {SUFFIX} beside it is of another version, or damaged")
    return facts
