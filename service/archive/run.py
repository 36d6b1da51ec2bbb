"""A run over an archive: from recordings to results and a manifest, on this machine or on a cluster."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from engines.cores import usable_cores
from models.errors import UserError
from service.archive import local, manifest, storage
from service.archive.task import Reading, Task

SAVE_EVERY = 30.0  # s between two writings of the manifest; after a crash the files beside the results say the rest


@dataclass(slots=True)
class Summary:
    """Count what a run came to.

    Attributes:
        wanted: Recordings that were asked for.
        done: Recordings whose result is there now.
        kept: Those of them whose earlier result was current.
        failed: A sentence for each recording that has no result, by name.
        seconds: Seconds of recordings that were read in this run.
        interrupted: Whether the run was ended early.
        rows: The manifest's rows of the recordings that were asked for, by name.
    """

    wanted: int
    done: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False
    rows: dict[str, manifest.Row] = field(default_factory=dict)


def run(
    tasks: Sequence[Task],
    reading: Reading,
    out: str,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Read what is missing or changed of `tasks` into the folder `out`, keep its manifest, and return the summary.

    Args:
        tasks: The recordings.
        reading: How they are read.
        out: A folder or an address.
        jobs: How many are read at once; None takes one a core of this machine, or all that the cluster has.
        cluster: Address of a Ray cluster, or `auto`; None reads on this machine.
        quiet: Whether no progress bar is shown.
        say: Is called with a sentence for each recording that failed.

    Raises:
        UserError: The manifest is of another version, the model cannot be loaded, the folder cannot be written, or
            there is no such cluster.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs} is not a number above 0; give how many recordings are read at once")
    storage.check_writable(out)  # before hours of reading
    rows = manifest.read(out)
    summary = Summary(len(tasks))
    saved = time.monotonic()
    with _progress(len(tasks), quiet) as bar, closing(_answers(tasks, reading, jobs, cluster)) as answers:
        try:
            for task, facts in answers:
                _count(summary, task, facts)
                rows[task.name] = summary.rows[task.name]
                if task.name in summary.failed:
                    bar.clear()
                    say(summary.failed[task.name])
                bar.set_postfix_str(f"{summary.seconds / 3600:.2f} h of recordings", refresh=False)
                bar.update()
                if time.monotonic() - saved > SAVE_EVERY:
                    manifest.write(out, rows.values())
                    saved = time.monotonic()
        except KeyboardInterrupt:
            summary.interrupted = True
    manifest.write(out, rows.values())
    return summary


def _answers(
    tasks: Sequence[Task], reading: Reading, jobs: int | None, cluster: str | None
) -> Generator[tuple[Task, Mapping[str, Any]]]:
    if cluster is not None:
        from service.archive.on_cluster import read_all

        yield from read_all(tasks, reading, cluster, jobs)
    else:
        yield from local.read_all(tasks, reading, jobs or len(usable_cores()))


def _count(summary: Summary, task: Task, facts: Mapping[str, Any]) -> None:
    row = summary.rows[task.name] = manifest.row(task.name, facts)
    if row["state"] == "failed":
        summary.failed[task.name] = f"{storage.shown(task.name)}: {row['sentence']}"
        return
    summary.done += 1
    if facts["kept"]:
        summary.kept += 1
    else:
        summary.seconds += row["duration_s"] or 0.0


def _progress(total: int, quiet: bool) -> Any:
    return tqdm(
        total=total, unit="recording", disable=True if quiet else None,
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} recordings{postfix} [{elapsed}<{remaining}]",
    )  # fmt: skip
