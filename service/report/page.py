"""The report as one page of HTML without scripts and network; its style sheet has light, dark and print."""

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from models.errors import UserError
from models.files import write_text
from models.labels import EXPRESSIONS
from service.report import charts, comparison, eyes, summary
from service.report.bins import divide
from service.report.readings import Readings, together
from service.report.summary import Condition, Moments, Stretch
from service.report.svg import clock

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="generator" content="Affectstream">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
"""
_HONESTLY = (
    "Valence (unpleasant to pleasant) and arousal (calm to excited) run from −1 to +1 and are estimates of how people "
    "would rate what is seen and heard. Bands are one standard deviation, as the model states it for each picture: "
    "about two thirds of people’s ratings lie within. Averaging over time does not narrow them, because the errors of "
    "neighbouring pictures are alike. Where no face was read there is a gap, not a zero. An expression is not an "
    "emotion."
)

_NUMBERS = ("Read", "Valence", "SD", "Band", "Arousal", "SD", "Band", "Expression")
_COLUMNS = (
    "Read: share of the pictures in which a face was read. SD: standard deviation over time. Band: mean of the "
    "standard deviations that the model states. Expression: the likeliest on average, with its mean probability."
)

_SHADES = (
    "Bands: one standard deviation. Read: the paler, the fewer pictures of that moment were read. Action units: the "
    "stronger the shade, the likelier."
)

# The drawings of one recording, in their order; each is "" for recordings that do not have what it shows.
DRAWINGS = (charts.time_course, eyes.eyes_and_gaze)


def write(path: Path, several: Sequence[Readings], title: str, notes: Sequence[str] = ()) -> None:
    """Write the report on `several` recordings to `path`. Raise `UserError` if it cannot be written."""
    try:
        write_text(path, page(several, title, notes))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give --report a place that can") from error


def page(several: Sequence[Readings], title: str, notes: Sequence[str] = ()) -> str:
    """Return the report on `several` recordings as HTML; `notes` are sentences on what is missing from it."""
    style = (files("service.report") / "style.css").read_text("utf-8")
    shown = [one for one in several if len(one.t)]
    parts = [_HEAD.format(title=escape(title), style=style), f"<h1>{escape(title)}</h1>\n", _opening(several)]
    without = [
        f"{one.name} has no pictures, and a report shows what was read in them." for one in several if not len(one.t)
    ]
    parts += [f'<p class="note">{escape(note)}</p>\n' for note in (*notes, *without)]
    if not all(one.trained for one in shown):
        parts.append('<p class="note">The weights are untrained: these numbers mean nothing.</p>\n')
    parts.append(f"<p>{_HONESTLY}</p>\n")
    parts.append(_conditions(shown))
    parts.append(_table(several))
    parts += [_recording(one) for one in shown]
    parts.append(_origin(several))
    return "".join([*parts, "</body>\n</html>\n"])


def _opening(several: Sequence[Readings]) -> str:
    seconds = sum(summary.stretch(one, "").seconds for one in several)
    people = {one.participant for one in several if one.participant}
    what = f"{len(several)} recordings" if len(several) != 1 else "One recording"
    who = f" of {len(people)} participant{'s' if len(people) > 1 else ''}" if people else ""
    return f'<p class="soft">{what}{who}, {_length(seconds)} in all</p>\n'


def _conditions(several: Sequence[Readings]) -> str:
    found = summary.conditions(several)
    if not found:
        return ""
    rows = [
        [
            one.name, _people(one), _length(one.seconds), f"{one.read:.0%}",
            _signed(one.mean("valence")), _plain(one.spread("valence")), _signed(one.mean("arousal")),
            _plain(one.spread("arousal")), _likeliest(one.shares("expressions")),
        ]
        for one in found
    ]  # fmt: skip
    head = [
        "Condition",
        "Participants",
        "Length",
        "Read",
        "Valence",
        "SD between",
        "Arousal",
        "SD between",
        "Expression",
    ]
    units = comparison.unit_means(found)
    return (
        "<h2>Means by condition</h2>\n"
        + _figure(
            comparison.means(found),
            "Each dot is a participant’s mean over all pictures that were read in the condition, the upright line the "
            "mean of the participants, the broad bar one standard deviation between them (from two on). A participant "
            "in whom no face was read counts in no mean. No test was computed.",
        )
        + _rows(head, rows, texts=(0, len(head) - 1))
        + "<h3>Expressions</h3>\n"
        + _figure(
            comparison.expression_shares(found), "Mean probability of each expression, participants counting alike."
        )
        + _key()
        + ("<h3>Action units</h3>\n" + _figure(units, "Mean probability of each action unit, 0 to 1.") if units else "")
    )


def _people(condition: Condition) -> str:
    """Return how many participants a condition has, and of how many its means are if some were never read."""
    known, given = condition.seen, len(condition.participants)
    return str(given) if known == given else f"{known} of {given}"


def _table(several: Sequence[Readings]) -> str:
    people, conditions = any(one.participant for one in several), bool(together(several))
    words = ["Recording", *(["Participant"] if people else []), *(["Condition"] if conditions else [])]
    head = [*words, "Length", "Faces", "Blinks", *_NUMBERS]
    rows = []
    for one in several:
        whole = summary.stretch(one, one.name)
        who = [*([one.participant] if people else []), *([_conditions_of(one)] if conditions else [])]
        count = eyes.blinks(one)
        blinks = "–" if count is None else str(count)
        rows.append([one.name, *who, _length(whole.seconds), str(one.faces), blinks, *_numbers(whole)])
    texts = (*range(len(words)), len(head) - 1)
    return f'<h2>Recordings</h2>\n{_rows(head, rows, texts=texts)}<p class="soft small">{_COLUMNS}</p>\n'


def _conditions_of(one: Readings) -> str:
    """Return the conditions of a recording in the order in which they appear."""
    return ", ".join(together([one]))


def _recording(one: Readings) -> str:
    whole = summary.stretch(one, one.name)
    bins = divide(one)
    heading = " · ".join(filter(None, (one.name, one.participant, _conditions_of(one))))
    parts = [f'<section class="recording">\n<h2>{escape(heading)}</h2>\n', f"<p>{_read(one, whole)}</p>\n"]
    if whole.read:  # empty axes would say no more than the sentence
        words = f"Means of {_seconds(bins.width)}. " if bins.width > 0 else ""
        parts += [_figure("".join(drawing(one, bins) for drawing in DRAWINGS), words + _SHADES), _key()]
    parts.append("</section>\n")
    for heading, first, stretches in (
        ("Stimuli", "Stimulus", summary.in_stimuli(one)),
        ("Between markers", "From marker", summary.between_markers(one)),
    ):
        if stretches:
            head = [first, "Length", *_NUMBERS]
            rows = [[part.label, _length(part.seconds), *_numbers(part)] for part in stretches]
            parts.append(f"<h3>{heading}</h3>\n" + _rows(head, rows, texts=(0, len(head) - 1)))
    return "".join(parts)


def _read(one: Readings, whole: Stretch) -> str:
    """Return a sentence on how much was read, and why the rest was not."""
    text = f"A face was read in {whole.read:.0%} of {_length(whole.seconds)}."
    why = [f"{name} {_percent(share)}" for name, share in summary.reasons(one)]
    if why:
        text += f" Not read: {', '.join(why)}."
    if one.faces > 1:
        text += f" {one.faces} faces were tracked; at each moment the one is shown that was read most often."
    return escape(f"{text} {eyes.sentence(one)}".strip())


def _origin(several: Sequence[Readings]) -> str:
    """Return what made the results, once where all were made alike."""
    made = dict.fromkeys(json.dumps(_made_by(one), ensure_ascii=False) for one in several if one.facts)
    if not made:
        return ""
    lists = []
    for text in made:
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in json.loads(text).items())
        lists.append(f"<dl>{rows}</dl>\n")
    inputs = [[one.name, str(one.facts["input"]["sha256"] or "no file")] for one in several if one.facts]
    return (
        "<h2>How this was made</h2>\n"
        + "".join(lists)
        + _rows(["Recording", "SHA-256 of its file"], inputs, texts=(0, 1))
    )


def _made_by(one: Readings) -> dict[str, str]:
    facts = one.facts
    model, machine = facts["model"], facts["machine"]
    options = {name: value for name, value in facts["options"].items() if name not in ("start", "end", "markers")}
    return {
        "Affectstream": f"{facts['affectstream']}, commit {facts['commit'] or 'unknown'}",
        "Model": f"{model['name']}, weights {model['weights']}"
        + (f", voice {model['voice']}" if "voice" in model else ""),
        "Engine": f"{model['engine']} {model['precision']}",
        "Machine": f"{machine['cpu']}, {machine['system']}, Python {machine['python']}",
        "Options": "; ".join(f"{name} {_option(value)}" for name, value in options.items() if _is_set(value)),
        "Weights, SHA-256": ", ".join(f"{name} {value[:16]}…" for name, value in facts["weights_sha256"].items()),
    }


def _is_set(value: object) -> bool:
    return value is not None and value not in ([], ())


def _option(value: object) -> str:
    """Return the value of an option as words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _numbers(part: Stretch) -> list[str]:
    """Return the cells on reading, valence, arousal and expression."""
    return [f"{part.read:.0%}", *_moments(part.valence), *_moments(part.arousal), _likeliest(part.expressions)]


def _moments(moments: Moments) -> list[str]:
    band = f"±{moments.stated:.2f}" if np.isfinite(moments.stated) else "–"
    return [_signed(moments.mean), _plain(moments.over_time), band]


def _likeliest(shares: dict[str, float]) -> str:
    if not shares:
        return "–"
    name = max(shares, key=lambda key: shares[key])
    return f"{name} {shares[name]:.0%}"


def _key() -> str:
    square = '<svg viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" class="e-{0}"/></svg>{0}'
    items = "".join(f"<li>{square.format(name)}</li>" for name in EXPRESSIONS)
    return f'<ul class="key">{items}</ul>\n'


def _figure(drawing: str, caption: str) -> str:
    return f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>\n"


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int]) -> str:
    """Return a table; the columns numbered in `texts` hold words, the others numbers."""
    shape = ['class="t"' if n in texts else "" for n in range(len(head))]
    top = "".join(f"<th {kind}>{escape(cell)}</th>" for cell, kind in zip(head, shape, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {kind}>{escape(cell)}</td>" for cell, kind in zip(row, shape, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="scroll"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def _signed(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def _plain(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.2f}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "under 1%"


def _length(seconds: float) -> str:
    """Return a length as 5.0 s, 1:05 or 1:02:03."""
    return f"{seconds:.1f} s" if seconds < 59.95 else clock(round(seconds))


def _seconds(width: float) -> str:
    return f"{width:g} s" if width >= 1 else f"{width * 1000:.0f} ms"
