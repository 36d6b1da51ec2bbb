"""RTSP for sources that strangers name: where a server redirects to is checked before it is contacted.

FFmpeg follows a redirect by itself and cannot be asked not to. So FFmpeg connects to a port of loopback here, which
passes on what it and the server say, as a tunnel does, and ends the connection at a reply that leads elsewhere. Replies
are written anew from what was understood of them, so that FFmpeg cannot read one differently.
"""

import contextlib
import errno
import re
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import av

from models.errors import UserError
from service.capture.source import MOST_REDIRECTS, Check

_PORTS = {"rtsp": 554, "rtsps": 322}
_CHUNK = 65_536  # bytes
_LONGEST_HEAD = 65_536  # bytes
_LONGEST_LINE = 4_000  # bytes; FFmpeg cuts longer ones
_HEAD_END = re.compile(rb"\r*\n\r*\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f]")
_FRAME = ord("$")  # begins media that are interleaved with replies (RFC 2326, 10.12)

_T = TypeVar("_T")


def open_following(url: str, check: Check, seconds: float, connect: Callable[[str], _T]) -> _T:
    """Return `connect(address)` for a loopback address behind which the server of `url` answers.

    Redirects are followed, each after `check`, within `seconds` for each connection. Raise `UserError` for one that
    `check` refuses and for too many of them, and what `connect` raises.
    """
    for _ in range(MOST_REDIRECTS + 1):
        tunnel = _Tunnel(url, seconds)
        try:
            return connect(tunnel.url)
        except av.error.FFmpegError:
            tunnel.close()
            if tunnel.leads_to is None:
                raise
        target = tunnel.leads_to
        try:
            if urlsplit(target).scheme.lower() not in _PORTS:
                raise UserError("it is not RTSP")
            check(target)
            url = _with_user_of(url, target)
        except ValueError:
            raise UserError("leads to an address that cannot be read") from None
        except UserError as error:
            raise UserError(f"leads to another address: {error}") from None
    raise UserError(f"is redirected more than {MOST_REDIRECTS} times")


def _with_user_of(url: str, target: str) -> str:
    """Return `target` with the user part of `url`, if both are the same server and `target` has none of its own."""
    old, new = urlsplit(url), urlsplit(target)
    same = (old.scheme, old.hostname, old.port) == (new.scheme, new.hostname, new.port)
    user, at, _ = old.netloc.rpartition("@")
    return urlunsplit(new._replace(netloc=user + at + new.netloc)) if same and "@" not in new.netloc else target


class _Tunnel:
    """Pass on one RTSP connection between FFmpeg and a server, in a thread, until either ends it."""

    def __init__(self, url: str, seconds: float) -> None:
        """Connect to the server of `url`, or raise what FFmpeg would raise; it may take `seconds`."""
        self.leads_to: str | None = None  # where the server redirected to
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        try:
            self._server = socket.create_connection((parts.hostname or "", parts.port or _PORTS[scheme]), seconds)
            if scheme == "rtsps":
                self._server = _encrypted(self._server, parts.hostname)
        except TimeoutError:
            raise av.error.ExitError(0, "Immediate exit requested") from None
        except (socket.gaierror, ssl.SSLError, UnicodeError):
            raise av.error.FFmpegError(errno.EIO, "Input/output error") from None
        except OSError as error:
            raise av.error.FFmpegError(error.errno or errno.EIO, error.strerror or "Input/output error") from None
        self._server.settimeout(None)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(seconds)
        user, at, _ = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(scheme="rtsp", netloc=f"{user}{at}127.0.0.1:{port}"))
        self._replies = Replies(self._server.getpeername()[0])
        self._thread = threading.Thread(target=self._run, name="rtsp tunnel", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the connection, if FFmpeg has not, and wait until nothing is passed on any more."""
        for end in (self._listener, self._server):
            with contextlib.suppress(OSError):  # it is closed
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._server:
                with self._listener:
                    client = self._listener.accept()[0]
                with client:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._pass_on(client)
        except Leads as leads:
            self.leads_to = leads.target
        except (OSError, ValueError):
            pass  # either side is gone, or the server speaks no RTSP: FFmpeg sees the end of the connection

    def _pass_on(self, client: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(self._server, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if client in ready:
                    asked = client.recv(_CHUNK)
                    if not asked:
                        return
                    self._server.sendall(asked)
                if self._server in ready:
                    said = self._said()
                    if said is None:
                        continue
                    if not said:
                        return
                    client.sendall(self._replies.feed(said))

    def _said(self) -> bytes | None:
        """Return what the server has said, empty at its end; None if only TLS itself had something to say.

        A server sends session tickets after the handshake. To wait here for what follows them would keep FFmpeg's first
        question from the server, which says nothing before it.
        """
        self._server.setblocking(False)
        try:
            said = self._server.recv(_CHUNK)
            while said and isinstance(self._server, ssl.SSLSocket) and self._server.pending():
                said += self._server.recv(_CHUNK)  # it is decrypted already, so that no selector tells of it
            return said
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        finally:
            self._server.setblocking(True)


def _encrypted(connection: socket.socket, host: str | None) -> ssl.SSLSocket:
    """Return `connection` with TLS, as FFmpeg uses it: a camera signs its certificate itself, so it is not verified."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=host)


class Leads(Exception):
    """Report a reply that redirects to another address."""

    def __init__(self, target: str) -> None:
        """Hold `target`, the address that the reply redirects to; empty if it names none."""
        super().__init__()
        self.target = target


class Replies:
    """Read what a server says, message by message, and write it anew."""

    def __init__(self, address: str) -> None:
        """Name `address`, the server's own, as the source of media over UDP, whatever source the replies name."""
        self._address = address
        self._held = bytearray()
        self._rest = 0  # bytes of a body or of media that are passed on as they are

    def feed(self, data: bytes) -> bytes:
        """Return what can be passed on after `data`. Raise `Leads` for a redirect, `ValueError` for what is no RTSP."""
        self._held += data
        out = bytearray()
        while self._held:
            if self._rest:
                part = self._held[: self._rest]
                out += part
                self._rest -= len(part)
                del self._held[: len(part)]
            elif self._held[0] == _FRAME:
                if len(self._held) < 4:
                    break
                self._rest = 4 + int.from_bytes(self._held[2:4], "big")
            elif self._held[0] in b"\r\n":
                del self._held[0]
            else:
                end = _HEAD_END.search(self._held)
                if end is None:
                    if len(self._held) > _LONGEST_HEAD:
                        raise ValueError
                    break
                head = bytes(self._held[: end.start()])
                del self._held[: end.end()]
                out += self._head(head)
        return bytes(out)

    def _head(self, head: bytes) -> bytes:
        """Return the head of a message written anew, and note the length of its body."""
        first, *lines = head.replace(b"\r", b"").split(b"\n")
        fields = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        written = [first.strip(), *(name + b": " + value for name, value in fields)]
        if any(len(line) > _LONGEST_LINE or line.startswith(b"$") or _CONTROL.search(line) for line in written):
            raise ValueError
        named = {name.lower(): value for name, value in fields}
        version, *more = first.split() or [b""]
        if version.upper().startswith(b"RTSP/"):
            if not more or not (len(more[0]) == 3 and more[0].isdigit()):
                raise ValueError
            if more[0].startswith(b"3"):
                raise Leads(named.get(b"location", b"").decode("utf-8", "replace"))
        lengths = {value for name, value in fields if name.lower() == b"content-length"}
        if len(lengths) > 1 or not all(value.isdigit() for value in lengths):
            raise ValueError
        self._rest = int(next(iter(lengths), b"0"))
        written[1:] = [
            name + b": " + (self._transport(value) if name.lower() == b"transport" else value) for name, value in fields
        ]
        return b"\r\n".join(written) + b"\r\n\r\n"

    def _transport(self, value: bytes) -> bytes:
        """Return the field Transport with this server as the source of what comes over UDP.

        FFmpeg sends packets to the source, so that routers let the media through.
        """
        parts = [part for part in value.split(b";") if not part.strip().lower().startswith(b"source")]
        if b"tcp" not in parts[0].lower() and b"interleaved" not in value.lower():
            parts.append(b"source=" + self._address.encode())
        return b";".join(parts)
