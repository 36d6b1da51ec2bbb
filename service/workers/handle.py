"""One worker process, as the service in front of it handles it: start, requests, events, signs of life, end."""

import asyncio
import contextlib
import json
import logging
import os
import select
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

from models.errors import UserError
from service.events import Event
from service.register import NameTaken, TooMany, Unavailable, UnknownSession
from service.settings import Settings
from service.workers.heartbeat import HUNG_AFTER, START_SILENCE, STARTING, Beat, is_beat, unpack_beat
from service.workers.relay import READY, next_message, read_message, unpack

# The settings that a worker gets from the service in front of it, and those that are set for every worker, because
# the service in front does what they ask for.
PASSED_ON = {
    "model", "engine", "untrained", "model_option", "ice_servers", "voice", "voice_share", "max_faces", "max_batch",
    "max_wait_ms", "max_sessions", "max_subscribers", "max_request_bytes",
}  # fmt: skip
FIXED: dict[str, object] = {
    "host": "127.0.0.1", "token": None, "tls_cert": None, "tls_key": None, "allowed_origins": [], "source": [],
    "redis": None, "workers": 1, "max_connections_per_client": 0,
}  # fmt: skip
ANSWER_WITHIN = 30.0  # s, for a request to a worker: opening a camera takes as long as its driver needs
SILENT_AFTER = 1.0  # s without a sign of life after which no new session is opened in a worker
UNDO_WITHIN = 5.0  # s, for the request that undoes another one

_KINDS: dict[int, type[UserError]] = {404: UnknownSession, 409: NameTaken, 429: TooMany, 503: Unavailable}

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request, and their paths hold session names


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Raise `Unavailable` where a request to a worker inside the block gets no answer."""
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: the client was closed when the process ended
        raise Unavailable(f"the worker process does not answer ({type(error).__name__}); try again") from None
    except httpx.InvalidURL as error:
        raise UserError(f"the address cannot be passed on to a worker process ({error})") from None


class Worker:
    """A worker process, from its start to its end."""

    def __init__(self, settings: Settings, core: int, path: Path, log_level: str) -> None:
        """Start the process on the core of that number; it will answer on the socket `path`."""
        self.core = core
        self.since = time.monotonic()
        self.heard_at = self.since  # s, monotonic: when its last message came
        self.beat: Beat = STARTING
        self.metrics = ""  # its newest metrics as text
        self._metrics_asked_at = 0.0
        self.asked_to_end = False
        self.hung = False
        self._process = subprocess.Popen(
            # -P: a folder named "models" or "service" in the working directory is not imported in place of ours.
            [sys.executable, "-P", "-m", "service.workers.main"],
            env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # no message may stay behind in a buffer when the loop takes over the reading
            start_new_session=True,  # Ctrl-C in a terminal is for the service in front, which ends its workers
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        passed = settings.model_dump(mode="json", include=PASSED_ON) | FIXED
        given = {"settings": passed, "socket": str(path), "core": core, "log_level": log_level}
        with contextlib.suppress(BrokenPipeError):  # it has ended already: `wait` raises the reason
            self._input.write(json.dumps(given).encode() + b"\n")
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=ANSWER_WITHIN
        )
        self._async_client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://localhost", timeout=ANSWER_WITHIN
        )
        self._ready: Future[None] = Future()
        self._read_by_loop = False  # then the loop closes the output
        threading.Thread(target=self._await_ready, daemon=True).start()

    def wait(self) -> None:
        """Return when the process takes sessions. Raise `UserError` if it cannot."""
        self._ready.result()

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    @property
    def silence(self) -> float:
        """Return the seconds since the last sign of life; 0 while the process is being started."""
        return time.monotonic() - self.heard_at if self._ready.done() else 0.0

    @property
    def alive(self) -> bool:
        """Return whether the process takes sessions and has given a sign of life within `HUNG_AFTER` seconds."""
        ready = self._ready.done() and self._ready.exception() is None
        return ready and not self.asked_to_end and self.silence < HUNG_AFTER

    @property
    def usable(self) -> bool:
        """Return whether a session may be opened here: the process is being started, or has not fallen silent."""
        return not self._ready.done() or (self.alive and self.silence < SILENT_AFTER)

    @property
    def running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.poll() is None

    def request(self, method: str, path: str, *, within: float = ANSWER_WITHIN, **more: Any) -> Any:
        """Return the JSON of its answer. Raise `UserError` for what it refuses, `Unavailable` if it does not answer."""
        self._check_running()
        with answering():
            answer = self._client.request(method, path, timeout=within, **more)
        if answer.is_error:
            raise refusal(answer)
        return answer.json() if answer.content else None

    async def send(self, method: str, path: str, *, stream: bool = False, **more: Any) -> httpx.Response:
        """Return its answer to a request, whatever the status; with `stream`, before the body has come.

        Raise `Unavailable` if it does not answer.
        """
        self._check_running()
        timeout = httpx.Timeout(ANSWER_WITHIN, read=None) if stream else ANSWER_WITHIN
        with answering():
            asked = self._async_client.build_request(method, path, timeout=timeout, **more)
            return await self._async_client.send(asked, stream=stream)

    async def fetch_metrics(self, within: float) -> None:
        """Bring `metrics` up to date; they stay as they are if the worker does not answer within so many seconds."""
        asked_at = time.monotonic()
        if not self.alive:
            return
        try:
            text = (await self._async_client.get("/metrics", timeout=within)).text
        except (httpx.HTTPError, RuntimeError):  # it hangs, or has just ended and its client was closed
            return
        if asked_at > self._metrics_asked_at:  # an answer that was overtaken by a newer one is not used
            self.metrics, self._metrics_asked_at = text, asked_at

    async def events(self, publish: Callable[[Event], None]) -> None:
        """Call `publish` with each of its events until it has ended. Raise `UserError` if it cannot be started."""
        await asyncio.wrap_future(self._ready)
        self._read_by_loop = True
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._output)
        try:
            while (body := await next_message(reader)) is not None:
                self.heard_at = time.monotonic()
                if is_beat(body):
                    self.beat = unpack_beat(body)
                else:
                    publish(unpack(body))
        finally:
            transport.close()
            await self._async_client.aclose()

    def how_it_ended(self) -> str:
        """Return how the process ended, for people. Blocks until it has."""
        code = self._process.wait()
        if self.hung:
            return f"no sign of life for {HUNG_AFTER:g} s"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def kill_hung(self) -> None:
        """Kill the process, which gives no sign of life."""
        self.hung = True
        self._process.kill()

    def ask_to_end(self) -> None:
        """Ask the process to end; only once, because a second signal would end it at once."""
        if self.asked_to_end:
            return
        self.asked_to_end = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def end(self, timeout: float) -> None:
        """End the process, by force after `timeout` seconds. Blocks."""
        self.ask_to_end()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        self._client.close()
        if not self._read_by_loop:
            self._output.close()

    def _check_running(self) -> None:
        if not self.running:
            raise Unavailable("the worker process that read this session has ended; close the session or open it anew")

    def _await_ready(self) -> None:
        why = self._read_until_ready()
        if why is None:
            self.heard_at = time.monotonic()
            self._ready.set_result(None)
        else:
            self._ready.set_exception(UserError(why))

    def _read_until_ready(self) -> str | None:
        """Read messages until the one that says that the worker is ready; return why it is not, if so."""
        poll = select.poll()
        try:
            poll.register(self._output, select.POLLIN)
            while poll.poll(START_SILENCE * 1e3):
                body = read_message(self._output)
                if body == READY:
                    return None
                if body is not None and is_beat(body):
                    self.beat = unpack_beat(body)
                    continue
                reason = body.decode() if body else None
                return reason or f"a worker process did not start ({self.how_it_ended()}); its log holds the reason"
        except ValueError:  # closed meanwhile: the worker is not wanted any more
            return "the worker process was ended while it started"
        self._process.kill()
        return f"a worker process gave no sign of life for {START_SILENCE:g} s while it started, and was ended"


def refusal(answer: httpx.Response) -> UserError:
    """Return the error that a worker's answer of 4xx or 5xx stands for."""
    try:
        sentence = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        sentence = f"the worker process answered {answer.status_code}; its log holds the reason"
    kind = Unavailable if answer.is_server_error else _KINDS.get(answer.status_code, UserError)
    return kind(sentence)
