"""Rewrite what is generated from the code (`make docs`); tests fail where a file is no longer current."""

import json
import math
import re
import textwrap
import threading
from typing import Any

from service import event_types
from service.analyze import events_of_recording
from service.capture.open import open_source
from service.event_types import ROOT
from service.events import event_schema
from service.publish.table import AU_THRESHOLD, COLUMNS
from service.runtime import Runtime, load_runtime
from service.settings import Settings, settings_table
from service.web.app import create_app

README = ROOT / "README.md"
BENCHMARKS = ROOT / "docs" / "benchmarks"
OPENAPI = ROOT / "docs" / "openapi.json"
EXAMPLE_T = 7.5  # s of the demo: a surprise, while the voice is heard
_TIMES = ("captured_at", "timing_ms")  # fields of the event that differ from run to run
_WIDTH = 150  # characters in a line of the event
TABLE_TYPESCRIPT = ROOT / "service" / "dashboard" / "src" / "table_columns.ts"


def readme() -> str:
    """Return README.md with the table of the settings that exist now, and the figures that were measured last."""
    text = README.read_text("utf-8")
    for part, content in (("settings", settings_table()), ("figures", figures())):
        before, begin, rest = text.partition(f"<!-- {part} -->\n")
        _, end, after = rest.partition(f"<!-- /{part} -->")
        text = f"{before}{begin}{content}\n{end}{after}"
    return text


def figures() -> str:
    """Return README's sentences on speed, from the newest report of `bench live` in docs/benchmarks."""
    path = max(BENCHMARKS.glob("*-live.json"))
    report = json.loads(path.read_text("utf-8"))
    values = {row["what"]: row["value"] for row in report["rows"]}
    carried = next(round(value) for what, value in values.items() if what.startswith("streams carried"))
    delay = {
        int(found[1]): value
        for what, value in values.items()
        if (found := re.fullmatch(r"(\d+) streams \(.*\): frame to subscriber, p95", what))
    }
    page = f"docs/benchmarks/{path.with_suffix('.md').name}"
    first, later = (values[f"serve to first event, {cache}"] for cache in ("empty cache", "warm caches"))
    lines = (
        f"- Measured on {report['machine']['cpu']} ([{path.stem.removesuffix('-live')}]({page})): the first event",
        f"  comes {later:.1f} s after the start ({first:.1f} s the first time). One 640x360 30 fps stream takes "
        f"{values['CPU']:.0f} % of a core.",
        f"  {carried} such streams are carried at 29.7 events/s or more each, with a p95 of {delay[carried]:.0f} ms "
        "from the",
        "  frame to the subscriber.",
    )
    return "\n".join(lines)


def example(runtime: Runtime) -> dict[str, Any]:
    """Return the event that `affectstream analyze demo:` writes at `EXAMPLE_T` seconds."""
    events = events_of_recording(runtime, open_source("demo:", realtime=False), stop=threading.Event())
    return next(dict(event.data) for event in events if event.data["t"] >= EXAMPLE_T)


def event_in(text: str) -> dict[str, Any]:
    """Return the event that the README `text` shows."""
    event: dict[str, Any] = json.loads(_event_block(text)[1])
    return event


def with_event(text: str, event: dict[str, Any]) -> str:
    """Return the README `text` with `event` in place of the one that it shows, or as it is if the two are alike."""
    before, shown, after = _event_block(text)
    if alike(json.loads(shown), event, 0.0):
        return text
    line = json.dumps(event).replace(": ", ":\N{NO-BREAK SPACE}")  # a value stays in the line of its name
    rows = textwrap.wrap(line, _WIDTH, break_on_hyphens=False, subsequent_indent=" ")
    return before + "\n".join(rows).replace("\N{NO-BREAK SPACE}", " ") + "\n" + after


def alike(a: Any, b: Any, tolerance: float) -> bool:
    """Return whether two events have the same fields and values; times may differ, and numbers by `tolerance`."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[k], b[k], tolerance) for k in a if k not in _TIMES)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(alike(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool) or isinstance(b, bool) or not (isinstance(a, int | float) and isinstance(b, int | float)):
        return bool(a == b)
    return math.isclose(a, b, rel_tol=0.0, abs_tol=tolerance)


def _event_block(text: str) -> tuple[str, str, str]:
    before, begin, rest = text.partition("```json\n")
    shown, end, after = rest.partition("```")
    return before + begin, shown, end + after


def openapi() -> str:
    """Return docs/openapi.json with the routes that exist now."""
    return json.dumps(create_app(Settings.model_construct()).openapi(), indent=1, sort_keys=True) + "\n"


def table_typescript() -> str:
    """Return the text of the page's table_columns.ts: the columns that `analyze` exports."""
    names = "".join(f"  {json.dumps(column.name)},\n" for column in COLUMNS)
    return (
        "// `make docs` writes this file from service/publish/table.py.\n\n"
        "/** Columns of `analyze`'s exports, in order. */\n"
        f"export const TABLE_COLUMNS: readonly string[] = [\n{names}];\n\n"
        "/** Probability from which an action unit counts as present. */\n"
        f"export const AU_THRESHOLD = {AU_THRESHOLD};\n"
    )


if __name__ == "__main__":
    loaded = load_runtime()
    try:
        README.write_text(with_event(readme(), example(loaded)), "utf-8")
    finally:
        loaded.close()
    OPENAPI.write_text(openapi(), "utf-8")
    event_types.PYTHON.write_text(event_types.python_types(event_schema()), "utf-8")
    event_types.TYPESCRIPT.write_text(event_types.typescript(event_schema()), "utf-8")
    event_types.LABELS_TYPESCRIPT.write_text(event_types.labels_typescript(), "utf-8")
    TABLE_TYPESCRIPT.write_text(table_typescript(), "utf-8")
