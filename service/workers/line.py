"""The connection between a worker on a node of a cluster and the service in front of it.

It is the pipe of `service.workers.relay` over TCP: the worker writes its messages, and the service in front sends a
byte twice a second. A worker whose line is closed, or that receives nothing for `GIVE_UP_AFTER` seconds, ends its
sessions: by then the service in front may open them elsewhere.

Both sides prove that they know the worker's key before anything else is said (HMAC-SHA256 of a number that the other
side has drawn), so that neither sends it. With `RAY_USE_TLS=1` the line is TLS between certificates of the cluster.
"""

import asyncio
import contextlib
import hmac
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable

from models.errors import UserError

ALIVE_EVERY = 0.5  # s between bytes of the service in front
GIVE_UP_AFTER = 5.0  # s without one, after which a worker ends its sessions
GREET_WITHIN = 20.0  # s that a connection has to prove that it knows the key
_NUMBER = 32  # bytes of the number that each side draws
_FRONT, _WORKER = b"front", b"worker"  # part of each proof, so that neither side can send back the other's


def proof(key: str, side: bytes, number: bytes) -> bytes:
    """Return the proof that `side` knows the key, for the other side, which has drawn `number` (HMAC-SHA256)."""
    return hmac.digest(key.encode(), side + number, "sha256")


def tls_context(*, server: bool) -> ssl.SSLContext | None:
    """Return the context of Ray's own certificates where `RAY_USE_TLS` is set, else None.

    Both sides show a certificate of the cluster's authority. Raise `UserError` for files that cannot be used.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    names = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
    files = [os.environ.get(name, "") for name in names]
    if not all(files):
        raise UserError(f"RAY_USE_TLS is set, but not all of {', '.join(names)}; give the three PEM files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # any certificate of the cluster's authority is one of the cluster
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files[0], files[1])
        context.load_verify_locations(files[2])
    except (ssl.SSLError, OSError) as error:
        raise UserError(
            f"the certificates of RAY_USE_TLS cannot be used ({error.strerror or error}); give PEM files"
        ) from None
    return context


@contextlib.asynccontextmanager
async def connected(host: str, port: int, key: str) -> AsyncIterator[asyncio.StreamReader]:
    """Return the reader of a line to a worker, and keep the line alive inside the block. Raise `OSError`."""
    async with asyncio.timeout(GREET_WITHIN):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls_context(server=False))
        try:
            drawn = secrets.token_bytes(_NUMBER)
            theirs = await reader.readexactly(_NUMBER)
            writer.write(proof(key, _FRONT, theirs) + drawn)
            if not hmac.compare_digest(await reader.readexactly(32), proof(key, _WORKER, drawn)):
                raise ConnectionError("it does not know the worker's key")
        except BaseException as error:
            writer.close()
            if isinstance(error, asyncio.IncompleteReadError):
                raise ConnectionError("it closed the connection") from None
            raise

    async def stay() -> None:
        while True:
            writer.write(b".")
            await asyncio.sleep(ALIVE_EVERY)

    staying = asyncio.create_task(stay())
    try:
        yield reader
    finally:
        staying.cancel()
        writer.transport.abort()


class Line:
    """Hold a worker's side of the line: a `NonBlockingWriter` of its messages. Used in the loop, except for `write`."""

    def __init__(self, connection: socket.socket, lost: Callable[[], None]) -> None:
        """Take a connection that has proved that it knows the key; `lost` is called when it is closed or silent."""
        connection.setblocking(False)
        self._connection = connection
        self._lost = lost
        self._lock = threading.Lock()  # a TLS connection is not written and read at once
        self._heard = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self._read)
        self._loop.call_later(ALIVE_EVERY, self._look)

    def fileno(self) -> int:
        """Return the connection's file."""
        return self._connection.fileno()

    def write(self, data: bytes) -> int:
        """Write what there is room for. Thread-safe."""
        with self._lock:
            try:
                return self._connection.send(data)
            except ssl.SSLWantWriteError:
                raise BlockingIOError from None

    def _read(self) -> None:
        try:
            with self._lock:
                received = self._connection.recv(4096)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            received = b""
        if received:
            self._heard = time.monotonic()
        else:
            self._close()

    def _look(self) -> None:
        self._read()  # what has come while the loop was busy counts
        if self._connection.fileno() < 0:
            return
        if time.monotonic() - self._heard > GIVE_UP_AFTER:
            self._close()
        else:
            self._loop.call_later(ALIVE_EVERY, self._look)

    def _close(self) -> None:
        if self._connection.fileno() < 0:
            return
        self._loop.remove_reader(self._connection)
        with self._lock:
            self._connection.close()
        self._lost()


def accept(listener: socket.socket, key: str) -> socket.socket:
    """Return the first connection to `listener` that knows the key. Blocks; raise `OSError` once it is closed."""
    context = tls_context(server=True)
    while True:
        connection, _ = listener.accept()
        connection.settimeout(GREET_WITHIN)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            greeted = context.wrap_socket(connection, server_side=True) if context else connection
            drawn = secrets.token_bytes(_NUMBER)
            greeted.sendall(drawn)
            answer = _receive(greeted, 32 + _NUMBER)
            if hmac.compare_digest(answer[:32], proof(key, _FRONT, drawn)):
                greeted.sendall(proof(key, _WORKER, answer[32:]))
                return greeted
        except OSError:  # it closed the connection, or said too little in time
            pass
        connection.close()


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("it closed the connection")
        data += part
    return data
