"""A few lines of SVG: elements, axes of time, and numbers as short as they can be."""

from collections.abc import Callable, Iterable
from html import escape

import numpy as np
from numpy.typing import NDArray

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # s between time labels


def element(name: str, *inner: str, **attributes: object) -> str:
    """Return an element; "_" in an attribute's name stands for "-", and `class_` for class."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(number(value) if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
    )
    body = "".join(inner)
    return f"<{name}{given}>{body}</{name}>" if body else f"<{name}{given}/>"


def text(x: float, y: float, words: str, **attributes: object) -> str:
    """Return a text whose baseline begins (or with `text_anchor`, ends) at x, y."""
    return element("text", escape(words), x=float(x), y=float(y), **attributes)


def number(value: float) -> str:
    """Return a number with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0").replace("-0", "0" if value > -0.05 else "-0")


def picture(width: float, height: float, label: str, *inner: str) -> str:
    """Return a whole drawing with a description for those who do not see it."""
    return element(
        "svg", element("title", escape(label)), *inner,
        viewBox=f"0 0 {number(width)} {number(height)}", role="img", class_="chart",
    )  # fmt: skip


def path(points: Iterable[tuple[float, float]], *, closed: bool = False) -> str:
    """Return the `d` of a line through `points`."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + ("Z" if closed else "")


def runs(known: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return begin and end (exclusive) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def clock(seconds: float) -> str:
    """Return a time as 0:05, 1:02:03, or 0:00.5 where it is no whole second."""
    whole = int(seconds + 1e-6)
    hours, rest = divmod(whole, 3600)
    shown = f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
    part = seconds - whole
    return shown + (f"{part:.1f}"[1:] if part > 0.05 else "")


def time_axis(begin: float, end: float, x: Callable[[float], float], top: float, bottom: float, *, labels: bool) -> str:
    """Return vertical lines at round times from `top` to `bottom`, with their labels below if asked for."""
    length = end - begin
    step = next((step for step in _STEPS if length / step <= 10), _STEPS[-1])
    parts = []
    for n in range(int(np.ceil(begin / step - 1e-9)), int(np.floor(end / step + 1e-9)) + 1):
        at = x(n * step)
        parts.append(element("line", x1=at, x2=at, y1=float(top), y2=float(bottom), class_="grid"))
        if labels:
            parts.append(text(at, bottom + 15, clock(n * step), text_anchor="middle", class_="tick"))
    return "".join(parts)
