"""Rewrite what is generated from the code (`make docs`); tests fail where a file is no longer current."""

import json
import re

from service import event_types
from service.event_types import ROOT
from service.events import event_schema
from service.publish.table import AU_THRESHOLD, COLUMNS
from service.settings import Settings, settings_table
from service.web.app import create_app

README = ROOT / "README.md"
BENCHMARKS = ROOT / "docs" / "benchmarks"
OPENAPI = ROOT / "docs" / "openapi.json"
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
    README.write_text(readme(), "utf-8")
    OPENAPI.write_text(openapi(), "utf-8")
    event_types.PYTHON.write_text(event_types.python_types(event_schema()), "utf-8")
    event_types.TYPESCRIPT.write_text(event_types.typescript(event_schema()), "utf-8")
    event_types.LABELS_TYPESCRIPT.write_text(event_types.labels_typescript(), "utf-8")
    TABLE_TYPESCRIPT.write_text(table_typescript(), "utf-8")
