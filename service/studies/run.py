"""A study from its file to tables and a report."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from models.errors import UserError
from service.archive import manifest, run, storage
from service.archive.readings import read_results
from service.archive.run import Summary
from service.report import page
from service.report.readings import Readings
from service.studies import bids_dataset
from service.studies.study import FOLDER, REPORT, Study
from service.studies.tidy import conditions, write_tidy


def run_study(
    study: Study, *, jobs: int | None = None, cluster: str | None = None, say: Callable[[str], None] = lambda _: None
) -> Summary:
    """Read what is missing or changed of a study, write its tables and its report, and return what came of it.

    See `service.archive.run.run` for the arguments and errors.
    """
    summary = run.run(
        study.tasks(), study.reading, storage.join(study.results, FOLDER), jobs=jobs, cluster=cluster, say=say
    )
    if summary.done:
        done = {name for name, row in summary.rows.items() if row["state"] == "done"}
        write_tidy(study, done)
        write_report(study)
        if study.reading.form == bids_dataset.FOLDER:
            people = dict.fromkeys(one.participant for one in study.recordings if one.name in done)
            bids_dataset.write_description(study.bids, study.name, [*people])
    return summary


def write_report(study: Study) -> str:
    """Write the report on what is there of a study, and return its place. Raise `UserError` if nothing is there."""
    rows = manifest.read(storage.join(study.results, FOLDER))
    found = read_results(study.tasks(), rows)
    if not found:
        raise UserError(f"{study.name}: no recording was read yet; run `affectstream study run` first")
    by_name = {one.name: one for one in study.recordings}
    for readings in found:
        recording = by_name[readings.name]
        readings.participant = recording.participant
        readings.conditions = conditions(recording, readings.t)[0]
        readings.stimuli = [(one.start, one.end, one.label) for one in recording.stimuli]
    place = study.report
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        path = Path(folder) / REPORT
        page.write(path, found, study.name, [*_missing(study, found, rows), *_mixed(found), *_doubled(found)])
        storage.write(path, place)
    return place


def _missing(study: Study, found: list[Readings], rows: dict[str, manifest.Row]) -> list[str]:
    """Return a sentence for each recording that is not in the report."""
    there = {one.name for one in found}
    return [
        f"Not in this report: {one.name} ({rows.get(one.name, {}).get('sentence') or 'not read yet'})"
        for one in study.recordings
        if one.name not in there
    ]


def _mixed(found: list[Readings]) -> list[str]:
    """Return a sentence if the recordings were read with different weights, engines or precisions."""
    ways = {json.dumps(one.facts.get("model"), sort_keys=True) for one in found}
    return ["The recordings were not all read alike; see How this was made."] if len(ways) > 1 else []


def _doubled(found: list[Readings]) -> list[str]:
    """Return a sentence for each part of a file that several recordings hold, as after copying one under two names."""
    names: dict[tuple[object, ...], list[str]] = {}
    for one in found:
        sha, options = one.facts.get("input", {}).get("sha256"), one.facts.get("options", {})
        if sha is not None:
            names.setdefault((sha, options.get("start"), options.get("end")), []).append(one.name)
    return [
        f"The same pictures, by the SHA-256 of the file: {', '.join(several)}; each counts for itself."
        for several in names.values()
        if len(several) > 1
    ]
