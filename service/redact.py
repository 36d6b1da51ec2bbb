"""The secrets of addresses are masked here, in every address that is logged, sent or shown.

The user part, the values of a query and the fragment are always masked, whatever they look like. Of a path only words
that are common in addresses of cameras and players are shown.
"""

import re
import traceback

from models.errors import UserError

MASK = "***"
_LOCAL = frozenset({"file", "demo", "camera", "whip", "webrtc"})  # sources without a place for a secret
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_USER = r"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*"
_HOST = r"\[[0-9A-Fa-f:.]+\]|[\w.-]+"
# RFC 3986, 3, without leniency: nothing but a quoted "@" in the user part, one host, a port of digits.
_ADDRESS = re.compile(
    rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>{_USER})@)?(?P<host>{_HOST})?(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<path>/[^?#\s]*)?(?:\?(?P<query>[^#\s]*))?(?:#(?P<fragment>\S*))?"
)
# Where an address begins within a text, also one that was mistyped with one slash or none.
_BEGINNING = re.compile(
    r"\b(?:[a-z][a-z0-9+.-]*://|(?:rtsps?|rtmps?|https?|rediss?|srt|udp|ftps?|turns?|stuns?|mqtts?|amqps?):/?(?=\S))",
    re.IGNORECASE,
)
# fmt: off
_WORDS = frozenset({
    "a", "amp", "api", "asp", "av", "avi", "axis", "back", "bin", "c", "cam", "camera", "cameras", "cgi", "ch",
    "chan", "channel", "channels", "chunklist", "clip", "clips", "d", "dash", "demo", "desk", "door", "entrance",
    "example", "f", "feed", "film", "file", "files", "flv", "front", "h", "hd", "hevc", "hls", "html", "i", "image",
    "images", "img", "index", "interface", "isapi", "jpeg", "jpg", "k", "kitchen", "lab", "left", "live", "lobby",
    "low", "m", "main", "manifest", "master", "media", "medium", "mjpeg", "mjpg", "mkv", "mov", "movie", "mp", "mpd",
    "mpeg", "mpegts", "ms", "nphmotionjpeg", "office", "ogg", "onvif", "p", "play", "player", "playlist", "preview",
    "profile", "profiles", "public", "realmonitor", "record", "recording", "right", "room", "s", "sample", "sd",
    "sdp", "smil", "snapshot", "src", "static", "stream", "streaming", "streams", "sub", "t", "test", "thumb",
    "track", "trackid", "ts", "tv", "u", "ucast", "unicast", "v", "vid", "video", "videos", "videostream", "view",
    "vod", "wav", "web", "webcam", "webm",
})
# fmt: on
_PIECES = re.compile(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]+")
# The name of a recording at the end of a path is no secret, as long as it is made of words and short numbers.
_RECORDING = re.compile(
    r"[A-Za-z]{1,24}[0-9]{0,4}(?:[ _-][A-Za-z]{0,24}[0-9]{0,4}){0,4}"
    r"\.(?:mp4|m4v|mov|mkv|webm|avi|mpe?g|ogv|wav|flac|mp3|ogg|jpe?g|png|html?|txt)",
    re.IGNORECASE,
)


def redact(url: str) -> str:
    """Return `url` without secrets: its scheme, host, port and the plain words of its path; all else is masked.

    `redis://:hunter2@cache:6379/0` becomes `redis://***@cache:6379/0`, `http://host/x8Gh2/live.m3u8?t=1` becomes
    `http://host/***/live.m3u8?t=***`. Of an address that can be read in two ways, only the scheme is shown. Names of
    files and sources of this machine are returned as they are. Never raises.
    """
    scheme = _SCHEME.match(url.strip())
    if scheme is None or len(scheme[1]) == 1:  # a path, or an address behind a session's name
        begin = _BEGINNING.search(url)
        return url if begin is None else url[: begin.start()] + redact(url[begin.start() :])
    if scheme[1].lower() in _LOCAL:
        return url
    url = url.strip()
    match = _ADDRESS.fullmatch(url)
    if match is None or not match["host"] or _user_may_end_later(match):
        return f"{scheme[1]}://{MASK}"
    return _shown(match)


def redact_setting(url: str) -> str:
    """Return the setting `url` without secrets: by `redact` if it is an address, else the mask alone.

    What was meant as an address and has no scheme may be a password from its first character on.
    """
    return redact(url) if _ADDRESS.fullmatch(url.strip()) else MASK


def redact_text(text: str) -> str:
    """Return `text` with every address in it redacted: for messages of libraries, which may quote addresses.

    Everything from the beginning of an address to the last "@" before the next address is masked, blanks and quotes
    included, because passwords may hold such characters.
    """
    starts = [match.start() for match in _BEGINNING.finditer(text)]
    if not starts:
        return text
    pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return text[: starts[0]] + "".join(_redacted_beginning(piece) for piece in pieces)


def check_address(url: str) -> None:
    """Raise `UserError` unless `url` can be read in one way only, as scheme://[user[:password]@]host[:port][/path].

    An address such as `rtsp://admin:12/3@camera/live`, whose password was not percent-encoded, would otherwise be read
    as the host "admin", and the rest of the password be sent there.
    """
    match = _ADDRESS.fullmatch(url)
    if match is not None and not match["host"]:
        raise UserError(f"The address {redact(url)} names no host; write it as scheme://host:port/path.")
    if match is None or _user_may_end_later(match):
        raise UserError(
            f"The address {redact(url)} cannot be read in one way only. Write it as "
            "scheme://user:password@host:port/path and percent-encode the password: %40 for @, %2F for /, %3A for :, "
            "%3F for ?, %23 for #, %20 for a blank."
        )
    if match["port"] is not None and not 0 < int(match["port"]) < 65_536:
        raise UserError(f"The address {redact(url)} cannot be read: its port is not between 1 and 65535.")


def traced(error: BaseException) -> str:
    """Return the kind of `error` and where it was raised, for logs, without its words, which may quote an address."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    places = [f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames]
    return " < ".join([type(error).__name__, *places])


def _user_may_end_later(match: re.Match[str]) -> bool:
    """Return whether a later "@" could be the end of the user part, so that what looks like the host is part of it."""
    rest = (match["path"] or "") + (match["query"] or "") + (match["fragment"] or "")
    if match["user"] is None and match["port"] is None:
        rest = rest.replace("/@", "/", 1)  # as in http://host/@name/live; without a colon there is no password
    return "@" in rest


def _redacted_beginning(piece: str) -> str:
    """Return `piece`, which begins with an address, with that address redacted."""
    begin = _BEGINNING.match(piece)
    assert begin is not None
    end = re.search(r"[\s\"<>]|'(?:\s|$)|$", piece[max(begin.end(), piece.rfind("@") + 1) :])
    assert end is not None
    at = max(begin.end(), piece.rfind("@") + 1) + end.start()
    address = piece[:at].rstrip(".,;:!?)'")
    return redact(address) + piece[len(address) :]


def _shown(match: re.Match[str]) -> str:
    user = f"{MASK}@" if match["user"] is not None else ""
    port = "" if match["port"] is None else f":{match['port']}"
    *folders, last = (match["path"] or "").split("/")
    path = "/".join([*(_segment(folder) for folder in folders), last if _RECORDING.fullmatch(last) else _segment(last)])
    query = "" if match["query"] is None else "?" + "&".join(map(_pair, re.split("[&;]", match["query"])))
    fragment = "" if match["fragment"] is None else f"#{MASK}"
    return f"{match['scheme']}://{user}{match['host']}{port}{path}{query}{fragment}"


def _segment(segment: str) -> str:
    """Return a segment of a path if it is made of known words, short numbers and single separators; else the mask."""
    plain = len(segment) <= 48 and all(map(_is_plain, _PIECES.findall(segment)))
    return segment if plain else MASK


def _is_plain(piece: str) -> bool:
    if piece.isalpha():
        return len(piece) == 1 or piece.lower() in _WORDS
    return len(piece) <= 4 if piece.isdigit() else piece in ".-_"


def _pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals and re.fullmatch(r"[A-Za-z_-]{1,24}", name) else MASK
