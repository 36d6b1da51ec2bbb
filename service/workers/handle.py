"""A worker process, seen from the service that started it: its start, its answers, its events, its end."""

import asyncio
import contextlib
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx

from engines.errors import UserError
from service.events import Event
from service.register import NameTaken, TooMany, UnknownSession
from service.settings import Settings
from service.workers.main import READY
from service.workers.relay import next_message, read_message, unpack

# What a worker is told of the settings; the rest is what the service in front of it does, and said to be off.
TOLD = {
    "model", "engine", "untrained", "model_option", "ice_servers", "voice", "max_faces", "max_batch", "max_wait_ms",
    "max_sessions", "max_subscribers", "max_request_bytes",
}  # fmt: skip
ALONE: dict[str, object] = {
    "host": "127.0.0.1", "token": None, "tls_cert": None, "tls_key": None, "allowed_origins": [], "source": [],
    "redis": None, "workers": 1,
}  # fmt: skip
ANSWER_WITHIN = 30.0  # s, for a request to a worker: opening a camera takes as long as its driver does
logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request, and they name sessions
_KINDS: dict[int, type[UserError]] = {404: UnknownSession, 409: NameTaken, 429: TooMany}


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Around a request to a worker: raises `UserError` if it does not answer."""
    try:
        yield
    except httpx.HTTPError as error:
        raise UserError(f"the worker process does not answer ({type(error).__name__}); try again") from None


class Worker:
    """Starts at once, on the core of that number; `path`: of the socket it will answer on."""

    def __init__(self, settings: Settings, core: int, path: Path, log_level: str) -> None:
        self.since = time.monotonic()
        self.told = False  # to end
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.workers.main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is for the service in front, which ends its workers
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        given = settings.model_dump(mode="json", include=TOLD) | ALONE
        told = {"settings": given, "socket": str(path), "core": core, "log_level": log_level}
        with contextlib.suppress(BrokenPipeError):  # it broke already: `wait` says so
            self._input.write(json.dumps(told).encode() + b"\n")
            self._input.flush()
        place = "http://localhost"  # whatever the name: it is the socket that counts
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url=place, timeout=ANSWER_WITHIN)
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url=place, timeout=ANSWER_WITHIN
        )
        self._ready: Future[None] = Future()
        self._heard = False  # the loop has its output, and closes it
        threading.Thread(target=self._await, daemon=True).start()

    def wait(self) -> None:
        """Returns when it takes sessions. Raises `UserError` if it cannot."""
        self._ready.result()

    @property
    def failed(self) -> bool:
        """Whether it could not be started."""
        return self._ready.done() and self._ready.exception() is not None

    def request(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of its answer. Raises `UserError` for what it refuses, and if it does not answer."""
        with answering():
            answer = self._client.request(method, path, **more)
        if answer.is_client_error:
            raise _KINDS.get(answer.status_code, UserError)(answer.json().get("detail", answer.text))
        return answer.json() if answer.content else None

    async def events(self, take: Callable[[Event], None]) -> None:
        """Hands over its events until it has ended. Raises `UserError` if it cannot be started."""
        await asyncio.wrap_future(self._ready)
        self._heard = True
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._output)
        try:
            while (body := await next_message(reader)) is not None:
                take(unpack(body))
        finally:
            transport.close()
            await self.client.aclose()

    def ended(self) -> str:
        """How it ended, for people, once its output has."""
        code = self._process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def tell(self) -> None:
        """Asks it to end; once, for a second time would mean at once."""
        if self.told:
            return
        self.told = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def end(self, timeout: float) -> None:
        """Ends it, by force after `timeout` seconds."""
        self.tell()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        self._client.close()
        if not self._heard:
            self._output.close()

    def _await(self) -> None:
        try:
            body = read_message(self._output)
        except ValueError:  # closed meanwhile: it is not wanted any more
            body = None
        if body == READY:
            self._ready.set_result(None)
            return
        why = body.decode() if body else f"a worker process did not start ({self.ended()}); its log says why"
        self._ready.set_exception(UserError(why))
