"""HTTP for sources that strangers name: every address on the way is checked, those of redirects and playlists too.

FFmpeg follows redirects and opens what a playlist names without asking. So whoever answers at an address that the
operator allows could lead it to any other host that this machine reaches. Here Python asks for the bytes, each address
is checked before it is contacted, and FFmpeg reads what comes.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import av
import httpx

from models.errors import UserError
from service.capture.source import MOST_REDIRECTS, Check, Timeouts

_DIGITS = 15  # of a size in bytes; longer ones are no sizes
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every address, and those may hold passwords
_ERRORS: dict[int, type[av.error.FFmpegError]] = {
    400: av.error.HTTPBadRequestError,
    401: av.error.HTTPUnauthorizedError,
    403: av.error.HTTPForbiddenError,
    404: av.error.HTTPNotFoundError,
}


class CheckedHttp:
    """Open addresses for `av.open(..., io_open=...)`, after a check of each."""

    def __init__(self, check: Check, timeouts: Timeouts) -> None:
        """Call `check` with every address, before it is contacted."""
        self.size: int | None = None  # bytes of what was opened first, as its server says; None for a stream
        self._check = check
        self._opened = False
        timeout = httpx.Timeout(timeouts.open, read=timeouts.read)
        self._until: float | None = time.monotonic() + timeouts.open  # until all that is needed first has come
        # Connections are not kept: nobody would close them when FFmpeg has closed what it read. Bytes are read as they
        # come, so they must not be compressed.
        headers = {"user-agent": "affectstream", "accept": "*/*", "connection": "close", "accept-encoding": "identity"}
        self._client = httpx.Client(timeout=timeout, headers=headers)

    def __call__(self, url: str, flags: int, options: Mapping[str, Any]) -> "Answer":
        """Return the bytes at `url`. Raise `UserError` for what may not be contacted, `FFmpegError` if it fails."""
        if url.partition(":")[0].lower() not in ("http", "https"):
            kind = "an encrypted playlist" if url.startswith("crypto") else "an address that is not HTTP"
            raise UserError(f"leads to {kind}, which is read only where the operator allows http: and https:")
        answer = Answer(self._client, self._check, url, self._in_time)
        if not self._opened:
            self.size, self._opened = answer.size, True
        return answer

    def opened(self) -> None:
        """Note that FFmpeg knows the streams; from now on only the silence between bytes is bounded."""
        self._until = None

    def _in_time(self) -> bool:
        return self._until is None or time.monotonic() < self._until


class Answer:
    """Read the bytes at an address as a file; it can be sought in where its server answers requests for ranges."""

    def __init__(self, client: httpx.Client, check: Check, url: str, in_time: Callable[[], bool]) -> None:
        """Ask for the bytes; reading fails once `in_time` returns false."""
        self._client = client
        self._check = check
        self._url = url
        self._in_time = in_time
        self._at = 0
        self._over = False  # nothing more is read
        self._left = b""
        self._response = self._ask()
        self._ranged = self._response.status_code == httpx.codes.PARTIAL_CONTENT
        headers = self._response.headers
        length = headers.get("content-range", "").rpartition("/")[2] if self._ranged else headers.get("content-length")
        known = length and length.isdecimal() and len(length) <= _DIGITS
        self.size = int(length) if known else None  # bytes; None for a stream
        self._chunks = self._response.iter_raw()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, as soon as some are there; none at the end."""
        if self._over:  # FFmpeg goes on to try; a second error would be printed
            return b""
        if not self._left:
            try:
                if not self._in_time():
                    raise av.error.ExitError(0, "Immediate exit requested")
                with _as_ffmpeg_says():
                    self._left = next(self._chunks, b"")
            except av.error.FFmpegError:
                self._over = True
                raise
        part, self._left = self._left[:size], self._left[size:]
        self._at += len(part)
        return part

    def seekable(self) -> bool:
        """Return whether the server answers requests for ranges of a known whole."""
        return self._ranged and self.size is not None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on at `offset` from the beginning, from here, or from the end; return the place from the beginning."""
        if not self._ranged or self.size is None:
            raise OSError("the server answers no requests for ranges")
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence] + offset
        if start != self._at:
            self._response.close()
            self._at, self._left = start, b""
            if self._over:
                return start
            try:
                self._response = self._ask()
            except av.error.FFmpegError:
                self._over = True
                raise
            self._over = not _begins_at(self._response, start)  # what comes is not what was asked for
            self._chunks = self._response.iter_raw()
        return start

    def tell(self) -> int:
        """Return the place from the beginning."""
        return self._at

    def close(self) -> None:
        """Hang up."""
        self._response.close()

    def _ask(self) -> httpx.Response:
        """Return the answer at the end of all redirects, each of which is checked."""
        url = httpx.URL(self._url)
        for _ in range(MOST_REDIRECTS + 1):
            try:
                self._check(str(url))
            except UserError as error:
                raise UserError(f"leads to another address: {error}") from None
            with _as_ffmpeg_says():
                answer = self._send(url)
            if answer.next_request is None:
                break
            url = answer.next_request.url
            answer.close()
        else:
            raise UserError(f"is redirected more than {MOST_REDIRECTS} times")
        if answer.is_error and not (answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and self._at):
            answer.close()
            kind = av.error.HTTPServerError if answer.is_server_error else av.error.HTTPOtherClientError
            raise _ERRORS.get(answer.status_code, kind)(0, f"Server returned {answer.status_code}")
        return answer

    def _send(self, url: httpx.URL) -> httpx.Response:
        """Return the answer of `url` itself; a camera that asks for a digest of the password gets one."""
        asked = self._client.build_request("GET", url, headers={"range": f"bytes={self._at}-"})
        answer = self._client.send(asked, stream=True)
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status_code == httpx.codes.UNAUTHORIZED and "digest" in challenge.lower() and url.userinfo:
            answer.close()
            digest = httpx.DigestAuth(url.username, url.password)
            answer = self._client.send(asked, stream=True, auth=digest)
        return answer


def _begins_at(answer: httpx.Response, start: int) -> bool:
    """Return whether `answer` is a range that begins at byte `start`, or has nothing there."""
    if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        return True
    _, _, rest = answer.headers.get("content-range", "").partition(" ")
    return bool(answer.status_code == httpx.codes.PARTIAL_CONTENT and rest.partition("-")[0].strip() == str(start))


@contextlib.contextmanager
def _as_ffmpeg_says() -> Iterator[None]:
    """Raise what FFmpeg would raise, where HTTP fails inside the block."""
    try:
        yield
    except httpx.TimeoutException:
        raise av.error.ExitError(0, "Immediate exit requested") from None
    except httpx.RemoteProtocolError as error:
        if "illegal status line" not in str(error):  # the words of h11, which has no kind of its own for it
            raise av.error.FFmpegError(0, f"Input/output error ({type(error).__name__})") from None
        raise av.error.ProtocolNotFoundError(
            0,
            "what answers there speaks no HTTP (old Shoutcast servers begin with ICY, not with HTTP); check the port, "
            "or let the operator allow http: and https:, which FFmpeg reads alone",
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise av.error.FFmpegError(0, f"Input/output error ({type(error).__name__})") from None
