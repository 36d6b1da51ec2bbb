"""From what the user wrote after `--source` to a source."""

import math
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from engines.errors import UserError
from service.capture.source import Source
from service.capture.timeouts import Timeouts
from service.redact import redact, redact_text

SCHEMES = ("demo:", "camera:N", "rtsp://…", "http(s)://…", "file:PATH")


def open_source(spec: str, *, realtime: bool = True, timeouts: Timeouts | None = None) -> Source:
    """The source that `spec` names: `demo:`, `camera:N`, `rtsp://…`, `http(s)://…`, `file:PATH[?loop=1]`, or a path.

    `realtime`: recordings and the demo play at their own speed; otherwise as fast as they are read. Addresses are not
    contacted before `read`. Raises `UserError`, a sentence, for what can be known to be wrong now: an unknown scheme,
    no such file, not a video, no such camera.
    """
    scheme, colon, _ = spec.strip().partition(":")
    kind = scheme.lower()
    if not spec.strip():
        raise UserError(f"The source is empty; give one of {', '.join(SCHEMES)}.")
    # "C:\\clip.mp4" is a path, and so is a file whose name holds a colon.
    if not colon or len(kind) == 1 or (kind not in _OPENERS and Path(spec).exists()):
        return _open_file(spec, realtime, timeouts or Timeouts(), bare=True)
    if kind not in _OPENERS:
        raise UserError(f"Sources of the kind {redact(kind)}: are not known; give one of {', '.join(SCHEMES)}.")
    return _OPENERS[kind](spec.strip(), realtime, timeouts or Timeouts())


def _open_file(spec: str, realtime: bool, timeouts: Timeouts, bare: bool = False) -> Source:
    from service.capture.file import FileSource

    if bare:
        return FileSource(Path(spec), spec, realtime=realtime)
    rest = spec[len("file:") :]
    path, options = (rest, dict[str, str]()) if Path(rest).exists() else _options(rest, {"loop"})
    if path.startswith("//"):  # file:///absolute/path, the form of a URL
        path = unquote(path[2:])
    if not path:
        raise UserError("file: needs a path: file:clip.mp4.")
    return FileSource(Path(path).expanduser(), spec, realtime=realtime, loop=_flag(options, "loop", False))


def _open_demo(spec: str, realtime: bool, timeouts: Timeouts) -> Source:
    from engines import weights
    from service.capture.demo import DemoSource

    rest, options = _options(spec[len("demo:") :], {"seconds"})
    if rest:
        raise UserError(f"demo: takes no name, but was given {rest!r}; write demo: alone.")
    seconds = _number(options, "seconds", math.inf)
    return DemoSource(weights.path("portrait"), realtime=realtime, seconds=seconds)


def _open_camera(spec: str, realtime: bool, timeouts: Timeouts) -> Source:
    from service.capture.camera import CameraSource

    number, options = _options(spec[len("camera:") :], {"audio"})
    if number and not number.isdecimal():
        raise UserError(f"camera:{number} is no camera number; write camera:0 for the first one.")
    audio = _flag(options, "audio", False) if "audio" in options else None
    return CameraSource(int(number or 0), spec, audio=audio, stall=timeouts.stall)


def _open_url(spec: str, realtime: bool, timeouts: Timeouts) -> Source:
    from service.capture.url import UrlSource

    try:
        host, port = urlsplit(spec).hostname, urlsplit(spec).port
    except ValueError as error:
        raise UserError(f"The address {redact(spec)} cannot be read: {redact_text(str(error))}.") from error
    if not host or port == 0:
        raise UserError(f"The address {redact(spec)} names no host; write it as scheme://host:port/path.")
    return UrlSource(spec, realtime=realtime, timeouts=timeouts)


_OPENERS: dict[str, Callable[[str, bool, Timeouts], Source]] = {
    "file": _open_file,
    "demo": _open_demo,
    "camera": _open_camera,
    "rtsp": _open_url,
    "rtsps": _open_url,
    "http": _open_url,
    "https": _open_url,
}


def _options(text: str, known: set[str]) -> tuple[str, dict[str, str]]:
    """The part before `?`, and the options after it. Raises `UserError` for options that are not `known`."""
    head, _, query = text.partition("?")
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    for name in options:
        if name not in known:
            raise UserError(f"The source has no option {name!r}; it knows {', '.join(sorted(known))}.")
    return head, options


def _flag(options: dict[str, str], name: str, default: bool) -> bool:
    value = options.get(name)
    if value is None:
        return default
    if value not in ("0", "1"):
        raise UserError(f"{name}={value} is neither 0 nor 1.")
    return value == "1"


def _number(options: dict[str, str], name: str, default: float) -> float:
    value = options.get(name)
    if value is None:
        return default
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise UserError(f"{name}={value} is not a number above 0.")
    return number
