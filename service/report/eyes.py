"""What a report draws and says of eyes and gaze; nothing of a recording in which they were not read."""

import numpy as np

from service.report.bins import Bins
from service.report.charts import AXIS, LEFT, RIGHT, WIDTH, X, marker_lines, scale_of_time
from service.report.readings import Readings
from service.report.summary import period
from service.report.svg import clock, element, path, picture, runs, text, time_axis

_LANE = 54.0  # of height
_BLINKS = 16.0  # of height, for the ticks of blinks
_GAP = 14.0
_TOP = 8.0
_FARTHEST = 45.0  # degrees that a lane of gaze shows; what is farther lies on its edge
_LANES = {
    "eye_openness": ("Eye opening", 0.0, 1.0, ((1.0, "1"), (0.0, "0"))),
    "gaze_yaw": ("Gaze, to the right", -_FARTHEST, _FARTHEST, ((_FARTHEST, "+45°"), (0.0, "0"), (-_FARTHEST, "−45°"))),
    "gaze_pitch": ("Gaze, up", -_FARTHEST, _FARTHEST, ((_FARTHEST, "+45°"), (0.0, "0"), (-_FARTHEST, "−45°"))),
}


def eyes_and_gaze(readings: Readings, bins: Bins) -> str:
    """Draw how open the eyes are, a tick for each blink, and where the face looks in degrees."""
    shown = [name for name in _LANES if readings.known(name)]
    if not shown:
        return ""
    x, begin, end = scale_of_time(bins)
    parts: list[str] = []
    y = _TOP
    for name in shown:
        parts.append(_lane(readings, bins, name, x, y))
        y += _LANE
        if name == "eye_openness":
            parts.append(_ticks(readings, x, y + 4))
            y += _BLINKS + 4
        y += _GAP
    y -= _GAP
    parts.append(time_axis(begin, end, x, y, y, labels=True))
    parts += marker_lines([(t, "") for t, _ in readings.markers()], x, _TOP, y)
    label = f"Eyes and gaze of {readings.name}, from {clock(begin)} to {clock(end)}"
    return picture(WIDTH, y + AXIS + 2, label, *parts)


def blinks(readings: Readings) -> int | None:
    """Return how many blinks of the face that is shown ended in the recording; None where its eyes were not read."""
    return int(np.isfinite(readings.columns["blink_ms"]).sum()) if readings.known("eye_openness") else None


def sentence(readings: Readings) -> str:
    """Return what the eyes did and where the face looked on average, in words; "" where neither was read."""
    words = []
    count = blinks(readings)
    if count is not None:
        seconds = float(np.isfinite(readings.columns["eye_openness"]).sum()) * period(readings)
        rate = f", {60 * count / seconds:.0f} a minute" if seconds >= 30 else ""  # of less, a rate is chance
        many = "s" if count != 1 else ""
        words.append(f"{count} blink{many} in {seconds:.1f} s in which the eyes were read{rate}.")
    if readings.known("gaze_yaw"):
        yaw, pitch = (float(np.nanmean(readings.columns[name])) for name in ("gaze_yaw", "gaze_pitch"))
        where = f"{_side(yaw, 'right', 'left')} and {_side(pitch, 'up', 'down')}"
        words.append(f"Gaze on average {where}; without calibration it is about 20° off.")
    return " ".join(words)


def _side(angle: float, positive: str, negative: str) -> str:
    return f"{abs(angle):.0f}° {positive if angle >= 0 else negative}"


def _lane(readings: Readings, bins: Bins, name: str, x: X, top: float) -> str:
    words, lowest, highest, labels = _LANES[name]

    def y(value: float) -> float:
        return top + _LANE * (highest - min(highest, max(lowest, value))) / (highest - lowest)

    mean = bins.mean(readings.columns[name])
    centres = (bins.edges[:-1] + bins.edges[1:]) / 2
    parts = [
        text(0, top + _LANE / 2 + 4, words, class_="name"),
        *(text(LEFT - 8, y(v) + 4, s, text_anchor="end", class_="tick") for v, s in labels),
        element("rect", x=LEFT, y=top, width=WIDTH - LEFT - RIGHT, height=_LANE, class_="frame"),
        time_axis(float(bins.edges[0]), float(bins.edges[-1]), x, top, top + _LANE, labels=False),
    ]
    if lowest < 0:
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(0), y2=y(0), class_="zero"))
    for first, last in runs(np.isfinite(mean)):
        times = [bins.edges[first], *centres[first:last], bins.edges[last]]
        values = [mean[first], *mean[first:last], mean[last - 1]]
        points = ((x(t), y(v)) for t, v in zip(times, values, strict=True))
        parts.append(element("path", d=path(points), class_="line plain"))
    return element("g", *parts)


def _ticks(readings: Readings, x: X, top: float) -> str:
    """Draw each blink where it ended, as long as it was."""
    lengths = readings.columns["blink_ms"]
    parts = [text(0, top + 12, "Blinks", class_="name")]
    for n in np.flatnonzero(np.isfinite(lengths)):
        end, seconds = float(readings.t[n]), float(lengths[n]) / 1e3
        left = max(LEFT, x(end - seconds))
        words = element("title", f"{lengths[n]:.0f} ms, until {clock(end)}")
        parts.append(
            element("rect", words, x=left, y=top, width=max(1.5, x(end) - left), height=_BLINKS, class_="blink")
        )
    return element("g", *parts)
