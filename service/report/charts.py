"""The drawings of one recording over its time, in static SVG; colours are classes of the page's style sheet."""

from collections.abc import Callable
from html import escape
from itertools import pairwise

import numpy as np

from models.labels import ACTION_UNITS, EXPRESSIONS
from service.report.bins import Bins
from service.report.readings import Floats, Readings
from service.report.svg import clock, element, path, picture, runs, text, time_axis

WIDTH = 960.0
LEFT, RIGHT = 150.0, 12.0  # for names; the rest is time
_TICKS = ((1, "+1"), (0, "0"), (-1, "−1"))
AXIS = 20.0  # of height for labels of time
_LANE = 104.0  # of height for valence or arousal
_ROW = 13.0  # of height for an action unit
_LEVELS = 10  # of grey in the heat map
_MARKER = 26.0  # of height for a marker's label, in two rows so that neighbours do not cover each other

X = Callable[[float], float]


def time_course(readings: Readings, bins: Bins) -> str:
    """Draw valence and arousal with a band of one standard deviation, the expressions and the action units."""
    x, begin, end = scale_of_time(bins)
    markers = readings.markers()
    top = _MARKER if markers else 8.0
    parts: list[str] = []
    y = top
    below = 2 * _LANE + 14.0
    parts += [_stimulus(one, x, top, below, begin, end) for one in readings.stimuli]
    for name in ("valence", "arousal"):
        parts.append(_lane(readings, bins, name, x, y))
        y += _LANE + (AXIS if name == "arousal" else 14.0)
    parts.append(_reading_strip(readings, bins, x, y))
    y += 22.0
    parts.append(_ribbon(readings, bins, x, y))
    y += 30.0
    units = readings.action_units()
    if units:
        parts.append(_heat_map(readings, bins, units, x, y))
        y += _ROW * len(units)
    parts.append(time_axis(begin, end, x, y, y, labels=True))
    y += AXIS
    parts += marker_lines(markers, x, top, y - AXIS)
    label = f"Time course of {readings.name}, from {clock(begin)} to {clock(end)}"
    return picture(WIDTH, y + 2, label, *parts)


def scale_of_time(bins: Bins) -> tuple[X, float, float]:
    """Return the place of a second in a drawing, and the first and last second that it shows."""
    begin, end = float(bins.edges[0]), float(bins.edges[-1])
    return lambda t: LEFT + (WIDTH - LEFT - RIGHT) * (t - begin) / (end - begin), begin, end


def _stimulus(one: tuple[float, float, str], x: X, top: float, height: float, first: float, last: float) -> str:
    """Draw a stretch in which something was shown as a shade behind the lanes, with its label."""
    begin, end = max(first, one[0]), min(last, one[1])
    if end <= begin:
        return ""
    left, right = x(begin), x(end)
    most = max(3, int((right - left) / 6))  # letters that the shade has room for
    label = one[2] if len(one[2]) <= most else one[2][: most - 1] + "…"
    shade = element(
        "rect", element("title", escape(one[2])), x=left, y=top, width=right - left, height=height, class_="stimulus"
    )
    return shade + text(left + 4, top + 12, label, class_="label")


def _lane(readings: Readings, bins: Bins, name: str, x: X, top: float) -> str:
    """Draw one of valence and arousal: the mean of each stretch, and one standard deviation about it."""
    middle, half = top + _LANE / 2, _LANE / 2

    def y(value: float) -> float:
        return middle - half * min(1.0, max(-1.0, value))

    read = np.where(readings.read, 1.0, np.nan)
    mean = bins.mean(readings.columns[name] * read)
    std = bins.mean(readings.columns[f"{name}_std"] * read)
    centres = (bins.edges[:-1] + bins.edges[1:]) / 2
    parts = [
        text(0, middle + 4, name.capitalize(), class_=f"name {name}"),
        *(text(LEFT - 8, y(v) + 4 + 4 * v, s, text_anchor="end", class_="tick") for v, s in _TICKS),
        element("rect", x=LEFT, y=top, width=WIDTH - LEFT - RIGHT, height=_LANE, class_="frame"),
        time_axis(float(bins.edges[0]), float(bins.edges[-1]), x, top, top + _LANE, labels=name == "arousal"),
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=middle, y2=middle, class_="zero"),
    ]
    for first, last in runs(np.isfinite(mean)):
        # A stretch stands for its whole width, so that a single one is seen too.
        times = [bins.edges[first], *centres[first:last], bins.edges[last]]
        values = [mean[first], *mean[first:last], mean[last - 1]]
        spread = [std[first], *std[first:last], std[last - 1]]
        if np.isfinite(spread).all():
            upper = [(x(t), y(v + s)) for t, v, s in zip(times, values, spread, strict=True)]
            lower = [(x(t), y(v - s)) for t, v, s in zip(times, values, spread, strict=True)]
            parts.append(element("path", d=path([*upper, *lower[::-1]], closed=True), class_=f"band {name}"))
        parts.append(
            element("path", d=path((x(t), y(v)) for t, v in zip(times, values, strict=True)), class_=f"line {name}")
        )
    return element("g", *parts)


def _reading_strip(readings: Readings, bins: Bins, x: X, top: float) -> str:
    """Draw in which part of each stretch a face was read."""
    share = bins.mean(readings.read.astype(float))
    parts = [text(0, top + 11, "Read", class_="name")]
    level = np.where(np.isfinite(share), np.ceil(np.nan_to_num(share) * 4), -1)
    for first, last in _equal(level):
        if level[first] >= 0:
            shade = f"read r{int(level[first])}"
            parts.append(_cell(bins, first, last, x, top, 14.0, shade, ""))
    return element("g", *parts)


def _ribbon(readings: Readings, bins: Bins, x: X, top: float) -> str:
    """Draw the likeliest expression of each stretch."""
    read = np.where(readings.read, 1.0, np.nan)
    means = np.stack([bins.mean(readings.columns[name] * read) for name in EXPRESSIONS])
    known = np.isfinite(means).all(axis=0)
    best = np.where(known, np.argmax(np.nan_to_num(means), axis=0), -1)
    parts = [text(0, top + 14, "Expression", class_="name")]
    for first, last in _equal(best):
        if best[first] >= 0:
            name = EXPRESSIONS[int(best[first])]
            share = float(means[int(best[first]), first:last].mean())
            parts.append(_cell(bins, first, last, x, top, 20.0, f"e-{name}", f"{name} {share:.0%}"))
    return element("g", *parts)


def _heat_map(readings: Readings, bins: Bins, units: list[str], x: X, top: float) -> str:
    """Draw the probability of each action unit in each stretch, darker for a higher one."""
    read = np.where(readings.read, 1.0, np.nan)
    parts = []
    for row, name in enumerate(units):
        y = top + row * _ROW
        parts.append(text(0, y + 10, name, class_="unit"))
        parts.append(text(40, y + 10, ACTION_UNITS[name], class_="tick"))
        mean = bins.mean(readings.columns[f"{name}_p"] * read)
        level = np.where(np.isfinite(mean), np.round(np.nan_to_num(mean) * _LEVELS), -1)
        for first, last in _equal(level):
            if level[first] >= 0:
                shade = f"au a{int(level[first])}"
                parts.append(_cell(bins, first, last, x, y, _ROW - 1, shade, ""))
    return element("g", *parts)


def _cell(bins: Bins, first: int, last: int, x: X, y: float, height: float, shade: str, words: str) -> str:
    left, right = x(float(bins.edges[first])), x(float(bins.edges[last]))
    title = (element("title", escape(words)),) if words else ()
    return element("rect", *title, x=left, y=float(y), width=max(0.3, right - left), height=float(height), class_=shade)


def _equal(values: Floats) -> list[tuple[int, int]]:
    """Return begin and end (exclusive) of each stretch of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(pairwise(edges))


def marker_lines(markers: list[tuple[float, str]], x: X, top: float, bottom: float) -> list[str]:
    """Draw a line at each marker with its label above, in two rows by turns."""
    parts = []
    for n, (t, label) in enumerate(markers):
        at = x(t)
        anchor = "end" if at > WIDTH - 120 else "start"
        parts.append(element("line", x1=at, x2=at, y1=top - 2, y2=float(bottom), class_="marker"))
        parts.append(
            text(at, top - (15 if n % 2 else 4), label if len(label) < 30 else label[:28] + "…", text_anchor=anchor,
                 class_="label")
        )  # fmt: skip
    return parts
