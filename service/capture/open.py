"""Open the source that a text such as `camera:0` or `rtsp://HOST/PATH` names, as after `--source`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote

from models.errors import UserError
from models.files import at_home
from service.capture.source import TURNS, Check, Source, Timeouts
from service.printable import printable
from service.redact import check_address

SCHEMES: Final = ("demo:", "camera:N", "rtsp://…", "http(s)://…", "file:PATH")
TRANSPORTS: Final = ("auto", "tcp", "udp")
_MAX_SIDE = 16_384  # pixels that a camera may be asked for
_MAX_FPS = 1000.0


def open_source(
    spec: str, *, realtime: bool = True, timeouts: Timeouts | None = None, check: Check | None = None
) -> Source:
    """Return the source that `spec` names.

    `demo:`, `camera:N[?size=WxH&fps=N&audio=0|1]`, `rtsp://HOST/PATH[?transport=auto|tcp|udp]`, `http(s)://HOST/PATH`,
    `file:PATH[?loop=1]` or a path; all but the demo take `rotate=90|180|270`, degrees clockwise. `realtime`: recordings
    and the demo play at their own speed; otherwise as fast as they are read. Addresses are not contacted before `read`.
    `check` raises `UserError` for an address that redirects and playlists may not lead to.
    Raises `UserError`, a sentence, for what can be known to be wrong now: an unknown scheme, no such file, not a video,
    no such camera, an address that can be read in two ways.
    """
    scheme, colon, _ = spec.strip().partition(":")
    kind = scheme.lower()
    if not spec.strip():
        raise UserError(f"The source is empty; give one of {', '.join(SCHEMES)}.")
    # "C:\\clip.mp4" is a path, and so is a file whose name holds a colon.
    if not colon or len(kind) == 1 or (kind not in _KINDS and _exists(spec)):
        return _open_bare(spec, realtime)
    if kind not in _KINDS:
        name, equals, source = kind.rpartition("=")
        if equals and source in _KINDS and not set("/?@") & set(name):
            raise UserError(
                f"{printable(scheme.rpartition('=')[0])!r} cannot name a session; a name has 1 to 64 of the letters "
                "A-Z and a-z, digits, _ and -."
            )
        shown = kind if kind.isascii() and kind.replace("+", "").isalnum() else "that"
        raise UserError(f"Sources of the kind {shown}: are not known; give one of {', '.join(SCHEMES)}.")
    if kind in _ADDRESSES:
        return _open_url(spec.strip(), realtime, timeouts or Timeouts(), check)
    return _OPENERS[kind](spec.strip(), realtime, timeouts or Timeouts())


def check_spec(spec: str) -> None:
    """Raise `UserError` for what `open_source` would refuse, before anything slow is loaded; open no camera."""
    if spec.strip().partition(":")[0].lower() not in ("camera", "demo"):
        open_source(spec)


def _open_bare(spec: str, realtime: bool) -> Source:
    from service.capture.file import FileSource

    return FileSource(Path(spec), spec, realtime=realtime)


def _open_file(spec: str, realtime: bool, timeouts: Timeouts) -> Source:
    from service.capture.file import FileSource

    path, options = _file_and_options(spec[len("file:") :])
    rotate = _rotate(options)
    return FileSource(path, spec, realtime=realtime, loop=_flag(options, "loop", False), rotate=rotate)


def _file_and_options(text: str) -> tuple[Path, dict[str, str]]:
    """Return the path that `text`, the part after `file:`, names, and its options. A "?" may be part of the name."""
    if text.startswith("//"):  # file:///absolute/path, the form of a URL
        host, slash, rest = text[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise UserError(
                f"file://{printable(host)}/… is on another machine; copy the file here, or serve it by HTTP."
            )
        whole = slash + rest
        if not _exists(whole):
            head, options = _options(whole, {"loop", "rotate"}) if "?" in whole else (whole, {})
            # A name on disk wins over the decoded one: "100%25.mp4" may be either.
            return (Path(head) if _exists(head) else Path(unquote(head))), options
        return Path(whole), {}
    if _exists(text):
        return at_home(Path(text)), {}
    head, mark, query = text.rpartition("?")
    if mark and _exists(head):
        return at_home(Path(head)), _options(f"?{query}", {"loop", "rotate"})[1]
    if "?" in text and "=" not in text.partition("?")[2]:  # part of a name that is not there
        return at_home(Path(text)), {}
    head, options = _options(text, {"loop", "rotate"})
    if not head:
        raise UserError("file: needs a path: file:clip.mp4.")
    return at_home(Path(head)), options


def readings(text: str) -> set[Path]:
    """Return every path that a source may open whose part after `file:` is `text`, for checks of what is allowed."""
    if text.startswith("//"):
        _, slash, rest = text[2:].partition("/")
        text = slash + rest
    names = {text, text.partition("?")[0], text.rpartition("?")[0] or text}
    return {at_home(Path(name)) for name in names | {unquote(name) for name in names}}


def _exists(name: str) -> bool:
    try:
        return bool(name) and at_home(Path(name)).exists()
    except (OSError, ValueError):  # too long, or a null byte
        return False


def _open_demo(spec: str, realtime: bool, timeouts: Timeouts) -> Source:
    from engines import weights
    from service.capture.demo import DemoSource

    rest, options = _options(spec[len("demo:") :], {"seconds"})
    if rest:
        raise UserError(f"demo: takes no name, but was given {rest!r}; write demo: alone.")
    seconds = _number(options, "seconds", math.inf)
    return DemoSource(weights.path("portrait"), realtime=realtime, seconds=seconds)


def _open_camera(spec: str, realtime: bool, timeouts: Timeouts) -> Source:
    from service.capture.camera import CameraSource, Wanted

    number, options = _options(spec[len("camera:") :], {"audio", "size", "fps", "rotate"})
    if number and not (number.isascii() and number.isdecimal() and len(number) < 5):
        raise UserError(f"camera:{number} is no camera number; write camera:0 for the first one.")
    audio = _flag(options, "audio", False) if "audio" in options else None
    fps = _number(options, "fps", math.inf)
    if "fps" in options and fps > _MAX_FPS:
        raise UserError(f"fps={fps:g} is more than {_MAX_FPS:g}; give frames a second, such as 30.")
    wanted = Wanted(_size(options), fps if "fps" in options else None)
    return CameraSource(
        int(number or 0), spec, audio=audio, wanted=wanted, rotate=_rotate(options), stall=timeouts.stall
    )


def _open_url(spec: str, realtime: bool, timeouts: Timeouts, check: Check | None) -> Source:
    from service.capture.url import UrlSource

    check_address(spec)
    rtsp = spec.lower().startswith("rtsp")
    address, options = _own_options(spec, {"rotate", "transport"} if rtsp else {"rotate"})
    transport = options.get("transport", "auto")
    if transport not in TRANSPORTS:
        raise UserError(f"The transport of an RTSP address is {', '.join(TRANSPORTS[:-1])} or {TRANSPORTS[-1]}.")
    turn = _rotate(options)
    return UrlSource(
        address, label=spec, realtime=realtime, timeouts=timeouts, rotate=turn, transport=transport, check=check
    )


_OPENERS: dict[str, Callable[[str, bool, Timeouts], Source]] = {
    "file": _open_file,
    "demo": _open_demo,
    "camera": _open_camera,
}
_ADDRESSES = frozenset({"rtsp", "rtsps", "http", "https"})
_KINDS = _ADDRESSES | _OPENERS.keys()


def _options(text: str, known: set[str]) -> tuple[str, dict[str, str]]:
    """Return the part before `?`, and the options after it. Raises `UserError` for options that are not `known`."""
    head, _, query = text.partition("?")
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    for name in options:
        if name not in known:
            raise UserError(f"The source has no option {name!r}; it knows {', '.join(sorted(known))}.")
    return head, options


def _own_options(address: str, names: set[str]) -> tuple[str, dict[str, str]]:
    """Return `address` without the pairs of its query that are called one of `names`, and those pairs.

    The rest of the query is the camera's, and stays byte for byte.
    """
    before, mark, rest = address.partition("?")
    query, hash_, fragment = rest.partition("#")
    pairs = query.split("&") if mark else []
    own = {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name in names}
    kept = "&".join(pair for pair in pairs if pair.partition("=")[0] not in names)
    return before + (f"?{kept}" if kept else "") + hash_ + fragment, own


def _rotate(options: dict[str, str]) -> int:
    text = options.get("rotate", "0")
    if text not in map(str, TURNS):
        # The value is not repeated: in an address it may be a part of a password.
        raise UserError(f"rotate takes {', '.join(map(str, TURNS[1:-1]))} or {TURNS[-1]}, degrees clockwise.")
    return int(text)


def _size(options: dict[str, str]) -> tuple[int, int] | None:
    text = options.get("size")
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and 0 < int(side) <= _MAX_SIDE for side in sides):
        raise UserError(f"size={text!r} is no size; write WIDTHxHEIGHT in pixels, such as size=1280x720.")
    return int(sides[0]), int(sides[1])


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
