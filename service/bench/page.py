"""The page for docs/benchmarks of a report of `bench`, with the report as JSON and its plot beside it."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engines.errors import UserError
from models.files import write_text, written_whole

_AXES = {  # series of `bench streams`: its column and what the axis is called
    "sessions": ("sessions", "sessions"),
    "faces": ("faces", "faces in the picture"),
    "height": ("height", "height of the picture in pixels"),
    "video": ("height", "height of the H.264 video in pixels"),
}


def write_page(what: str, report: Mapping[str, Any], out: Path) -> None:
    """Write the page `out` (.md), the report as `out` with .json, and its plot, if it has one, as `out` with .png.

    Raise `UserError` for a report that has no page, without matplotlib for a plot, and if nothing can be written.
    """
    if what not in _PAGES:
        raise UserError(f"bench {what} writes no page; --out is for {', '.join(_PAGES)}.")
    title, plot = _PAGES[what]
    if plot is not None and find_spec("matplotlib") is None:
        raise UserError("Plots need matplotlib: pip install 'affectstream[train]'.")
    machine = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    judged = {
        (row["model"], row["backend"], row["precision"]): row
        for row in report.get("rows", ())
        if row.get("errors") is not None
    }
    errors = [
        f"- {model} {backend} {precision}, {row['samples']} samples: "
        + (", ".join(f"{key} {value:g}" for key, value in row["errors"].items()) or "the reference itself")
        for (model, backend, precision), row in judged.items()
    ]
    parts = [
        f"# {title}, {date.today().isoformat()}",
        f"`affectstream bench {what}`: {machine}.",
        *("\n".join(_table(rows)) for rows in tables(report)),
        *(["Outputs against the fp32 reference:", "\n".join(errors)] if errors else []),
        *(
            "\n".join(f"- {sentence}" for sentence in report[part])
            for part in ("refused", "missed")
            if report.get(part)
        ),
        *([f"![{title}]({out.with_suffix('.png').name})"] if plot is not None else []),
    ]
    try:
        if plot is not None:
            with written_whole(out.with_suffix(".png")) as aside:
                plot(report["rows"], aside)
        write_text(out.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
        write_text(out, "\n\n".join(parts) + "\n")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from error


def tables(report: Mapping[str, Any]) -> Iterable[list[dict[str, Any]]]:
    """Yield the tables of a report, without values that are too long for a cell."""
    for part in (
        "rows", "convolutions", "streams", "calls", "replicas", "cameras", "workers", "compared", "losses", "drains",
        "archive", "faults",
    ):  # fmt: skip
        if report.get(part):
            yield [{k: v for k, v in row.items() if not isinstance(v, dict)} for row in report[part]]


def _table(rows: list[dict[str, Any]]) -> Iterable[str]:
    """Yield the lines of a Markdown table."""
    yield "| " + " | ".join(rows[0]) + " |"
    yield "|" + "---|" * len(rows[0])
    for row in rows:
        yield "| " + " | ".join(str(value) for value in row.values()) + " |"


def _plot_engines(rows: list[dict[str, Any]], out: Path) -> None:
    """Draw medians as bars with their spread as whiskers, labelled with the ratio and the share of the limit."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(9, 1 + 0.32 * len(rows)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        mine = [row for row in rows if row["model"] == name]
        labels = [f"{row['backend']} {row['precision']}, {row['threads']} thr." for row in mine]
        spread = [[row["ms"] - row["p10"] for row in mine], [row["p90"] - row["ms"] for row in mine]]
        bars = axes.barh(labels, [row["ms"] for row in mine], xerr=spread, color="#4477aa", ecolor="#555555")
        texts = [f" {row['ratio']:.1f}x, {100 * row['of_peak']:.0f} % of peak" for row in mine]
        axes.bar_label(bars, texts, fontsize=8)
        axes.set(title=f"{name}: one prediction", xlabel="ms, median with 10th to 90th percentile", xscale="log")
        axes.margins(x=0.25)
        axes.invert_yaxis()
    figure.savefig(out, dpi=110)


def _plot_streams(rows: list[dict[str, Any]], out: Path) -> None:
    """Draw the CPU time of a frame over sessions, faces and height."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for axes, (series, (column, label)) in zip(figure.subplots(1, len(_AXES)), _AXES.items(), strict=True):
        mine = [row for row in rows if row["series"] == series]
        axes.plot([row[column] for row in mine], [row["cpu_ms_per_frame"] for row in mine], "o-", color="#4477aa")
        axes.set(xlabel=label, xticks=[row[column] for row in mine])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("CPU ms per frame")
    figure.savefig(out, dpi=110)


def _plot_gpu(rows: list[dict[str, Any]], out: Path) -> None:
    """Draw predictions a second over the batch size, with a line for each engine."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key in dict.fromkeys((row["backend"], row["precision"], row["sound"]) for row in rows):
        mine = [row for row in rows if (row["backend"], row["precision"], row["sound"]) == key]
        label = f"{key[0]} {key[1]}" + (", sound kept" if key[2] == "kept" else "")
        axes.plot([row["batch"] for row in mine], [row["per_second"] for row in mine], "o-", label=label)
    axes.set(xlabel="faces in a batch", ylabel="predictions/s", xscale="log", ylim=(0, None))
    axes.set_xticks(batches := sorted({row["batch"] for row in rows}), [str(batch) for batch in batches])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=110)


_PAGES: dict[str, tuple[str, Callable[[list[dict[str, Any]], Path], None] | None]] = {
    "live": ("One live stream, and as many as the machine carries", None),
    "streams": ("A frame's cost with sessions, faces and resolution", _plot_streams),
    "engines": ("One prediction in every engine", _plot_engines),
    "models": ("One prediction of every system, in PyTorch and in OpenVINO", None),
    "soak": ("The service under faults", None),
    "gpu": ("Predictions of a GPU", _plot_gpu),
    "cluster": ("A Ray cluster on one machine", None),
}
