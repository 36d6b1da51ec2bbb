"""The drawings that compare conditions: means of participants, shares of expressions, action units."""

from collections.abc import Callable, Sequence

import numpy as np

from models.labels import ACTION_UNITS, EXPRESSIONS
from service.report.charts import WIDTH
from service.report.summary import Condition
from service.report.svg import element, picture, text

_LEFT = 150.0
_ROW = 34.0
_BAR = 22.0
_MARGIN = 24.0


def means(conditions: Sequence[Condition]) -> str:
    """Draw the mean of each participant as a dot and of the condition as a line, for valence and arousal."""
    half = (WIDTH - _LEFT) / 2
    height = _MARGIN + _ROW * len(conditions) + 22
    parts = []
    for side, name in enumerate(("valence", "arousal")):
        left = _LEFT + side * half + 14
        width = half - 40
        x = _scale(left, width)
        parts.append(text(left, 12, name.capitalize(), class_=f"name {name}"))
        for value, words in ((-1, "−1"), (-0.5, ""), (0, "0"), (0.5, ""), (1, "+1")):
            shade = "zero" if value == 0 else "grid"
            bottom = _MARGIN + _ROW * len(conditions)
            parts.append(element("line", x1=x(value), x2=x(value), y1=_MARGIN - 4, y2=bottom, class_=shade))
            parts.append(text(x(value), bottom + 16, words, text_anchor="middle", class_="tick"))
        for row, condition in enumerate(conditions):
            y = _MARGIN + _ROW * row + _ROW / 2
            mean, spread = condition.mean(name), condition.spread(name)
            if np.isfinite(spread):
                ends = np.clip([mean - spread, mean + spread], -1, 1)
                parts.append(element("line", x1=x(ends[0]), x2=x(ends[1]), y1=y, y2=y, class_=f"spread {name}"))
            for who, one in condition.participants.items():
                value = getattr(one, name).mean
                if np.isfinite(value):
                    words = element("title", f"{who}: {value:+.2f}")
                    parts.append(element("circle", words, cx=x(value), cy=y, r=4.0, class_=f"dot {name}"))
            if np.isfinite(mean):
                parts.append(element("line", x1=x(mean), x2=x(mean), y1=y - 10, y2=y + 10, class_=f"mean {name}"))
    for row, condition in enumerate(conditions):
        parts.append(text(0, _MARGIN + _ROW * row + _ROW / 2 + 4, short(condition.name), class_="name"))
    return picture(WIDTH, height, "Means of valence and arousal by condition", *parts)


def _scale(left: float, width: float) -> Callable[[float], float]:
    """Return the place of a value from -1 to 1 in a drawing that begins at `left`."""
    return lambda value: left + width * (value + 1) / 2


def expression_shares(conditions: Sequence[Condition]) -> str:
    """Draw the mean shares of the seven expressions in each condition, as one bar that is full."""
    parts = []
    for row, condition in enumerate(conditions):
        y = row * (_BAR + 8)
        parts.append(text(0, y + 15, short(condition.name), class_="name"))
        shares = condition.shares("expressions")
        at = _LEFT
        for name in EXPRESSIONS:
            width = (WIDTH - _LEFT) * shares.get(name, 0.0)
            words = element("title", f"{name} {shares.get(name, 0.0):.0%}")
            parts.append(element("rect", words, x=at, y=y, width=width, height=_BAR, class_=f"e-{name}"))
            if width > 40:
                parts.append(text(at + 6, y + 15, f"{shares[name]:.0%}", class_=f"in i-{name}"))
            at += width
    height = len(conditions) * (_BAR + 8)
    return picture(WIDTH, height, "Shares of the expressions by condition", *parts)


def unit_means(conditions: Sequence[Condition]) -> str:
    """Draw the mean probability of each action unit in each condition, darker for a higher one, with its number."""
    given = [condition.shares("units") for condition in conditions]
    units = [name for name in ACTION_UNITS if any(name in one for one in given)]
    if not units:
        return ""
    left = _LEFT + 60
    width = min(110.0, (WIDTH - left) / max(1, len(conditions)))
    parts = [
        text(left + width * n + width / 2, 12, short(condition.name, 14), text_anchor="middle", class_="tick")
        for n, condition in enumerate(conditions)
    ]
    for row, name in enumerate(units):
        y = 20.0 + 18 * row
        parts += [
            text(0, y + 12, name, class_="unit"),
            text(40, y + 12, ACTION_UNITS[name], class_="tick"),
        ]
        for n, one in enumerate(given):
            if name in one:
                level = int(np.clip(round(one[name] * 10), 0, 10))
                at = left + width * n
                parts.append(element("rect", x=at, y=y, width=width - 2, height=17.0, class_=f"au a{level}"))
                parts.append(
                    text(at + width / 2, y + 12.5, f"{one[name]:.2f}", text_anchor="middle", class_=f"num n{level}")
                )
    return picture(WIDTH, 20 + 18 * len(units) + 2, "Mean probabilities of action units by condition", *parts)


def short(words: str, most: int = 22) -> str:
    """Return `words`, cut where there is no room for them."""
    return words if len(words) <= most else words[: most - 1] + "…"
