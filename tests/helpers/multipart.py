"""A reader of multipart/x-mixed-replace answers."""

import httpx


class Parts:
    """Reads the parts of a multipart/x-mixed-replace answer."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.headers["content-type"].startswith("multipart/x-mixed-replace; boundary=")
        self._boundary = response.headers["content-type"].partition("boundary=")[2].encode()
        self._bytes = response.iter_bytes()
        self._buffer = b""

    def next(self) -> tuple[dict[str, str], bytes]:
        head = self._until(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first.encode() == b"--" + self._boundary
        headers = dict(line.split(": ") for line in lines)
        size = int(headers["Content-Length"])
        while len(self._buffer) < size + 2:
            self._buffer += next(self._bytes)
        body, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        return headers, body

    def rest(self) -> bytes:
        """All until the end of the answer."""
        return self._buffer + b"".join(self._bytes)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._buffer += next(self._bytes)
        head, _, self._buffer = self._buffer.partition(mark)
        return head
