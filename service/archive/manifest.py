"""The manifest of an archive: a Parquet table with a row for each recording and what came of it."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from models.errors import UserError
from service.archive import storage

NAME = "manifest.parquet"
SCHEMA = "affectstream-manifest/1"
# fmt: off
COLUMNS: dict[str, tuple[str, str]] = {  # type and meaning
    "name": ("text", "Name of the result in the folder, without its suffix"),
    "input": ("text", "Path or address of the recording, as it was given"),
    "state": ("text", "done: the result is there; failed: it is not, see sentence"),
    "sentence": ("text", "Why there is no result, or how the recording ended"),
    "sha256": ("text", "SHA-256 of the recording's file; null where it is no file"),
    "bytes": ("int", "Size of the recording's file"),
    "modified": ("float", "When the recording's file was changed last, Unix seconds"),
    "duration_s": ("float", "Seconds that were analysed"),
    "events": ("int", "Events in the result"),
    "with_face": ("int", "Events with a face"),
    "affectstream": ("text", "Version of Affectstream"),
    "commit": ("text", "Commit of its source; null where it was installed without one"),
    "model": ("text", "Name of the model"),
    "weights": ("text", "Version of the model's weights"),
    "voice": ("text", "Version of the voice network's weights; null if the voice was not read"),
    "weights_sha256": ("text", "SHA-256 of each file of weights in use, as JSON"),
    "engine": ("text", "Backend that ran the model"),
    "precision": ("text", "Precision that the model ran in"),
    "settings": ("text", "All options, as JSON"),
    "machine": ("text", "Processor, system and versions, as JSON"),
    "written_at": ("text", "When the recording was analysed, UTC, ISO 8601"),
}
# fmt: on

Row = dict[str, Any]


def row(name: str, facts: Mapping[str, Any]) -> Row:
    """Return the row of a recording from what the file beside its result says (see `task.read_one`)."""
    result, model, source = facts["result"], facts.get("model", {}), facts["input"]
    details = result["details"]
    return {
        "name": name,
        "input": source["name"],
        "state": "done" if result["ending"] == "complete" else "failed",
        "sentence": "; ".join(details) if details else None,
        "sha256": source["sha256"],
        "bytes": source["bytes"],
        "modified": source["modified"],
        "duration_s": result["seconds"],
        "events": result["events"],
        "with_face": result["with_face"],
        "affectstream": facts.get("affectstream"),
        "commit": facts.get("commit"),
        "model": model.get("name"),
        "weights": model.get("weights"),
        "voice": model.get("voice"),
        "weights_sha256": json.dumps(facts.get("weights_sha256", {})),
        "engine": model.get("engine"),
        "precision": model.get("precision"),
        "settings": json.dumps(facts.get("options", {}), ensure_ascii=False),
        "machine": json.dumps(facts.get("machine", {})),
        "written_at": facts.get("written_at"),
    }


def read(folder: str) -> dict[str, Row]:
    """Return the rows of a folder's manifest by name; none if it has none.

    Raise `UserError` if it cannot be read, or was written in another version of this format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = storage.join(folder, NAME)
    if not storage.exists(place):
        return {}
    with storage.on_this_machine(place) as path:
        try:
            table = pq.read_table(path, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{storage.shown(place)} is no manifest ({error}); move it away and run again") from error
    found = (table.schema.metadata or {}).get(b"schema", b"no version").decode()
    if found != SCHEMA:
        raise UserError(
            f"{storage.shown(place)} is a manifest of another version ({found}; this program writes {SCHEMA}); give "
            "another folder with --out, or move it away to have all recordings read again"
        )
    return {row["name"]: row for row in table.to_pylist()}


def write(folder: str, rows: Iterable[Row]) -> None:
    """Write the manifest of a folder, whole or not at all. Raise `UserError` if it cannot be written."""
    import tempfile
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "int": pa.int64(), "float": pa.float64()}
    fields = [pa.field(name, types[kind], metadata={"description": words}) for name, (kind, words) in COLUMNS.items()]
    table = pa.Table.from_pylist(sorted(rows, key=lambda one: one["name"]), pa.schema(fields, {"schema": SCHEMA}))
    with tempfile.TemporaryDirectory(prefix="affectstream-") as aside:
        path = Path(aside) / NAME
        pq.write_table(table, path)
        storage.write(path, storage.join(folder, NAME))
