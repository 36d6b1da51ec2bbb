"""One worker, as the service in front of it handles it: readiness, requests, events, signs of life, end."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import Any

import httpx
import psutil

from models.errors import UserError
from service.events import Event
from service.register import Unavailable
from service.settings import Settings
from service.workers.heartbeat import BUSY_HUNG_AFTER, HUNG_AFTER, STARTING, Beat, is_beat, unpack_beat
from service.workers.http_peer import ANSWER_WITHIN, HttpPeer
from service.workers.launcher import HERE, WorkerProcess
from service.workers.relay import LEAVING, next_message, unpack

# The settings that a worker gets from the service in front of it, and those that are set for every worker, because
# the service in front does what they ask for.
PASSED_ON = {
    "model", "engine", "untrained", "model_option", "ice_servers", "voice", "voice_share", "smoothing", "rate",
    "max_models", "gaze", "max_faces",
    "max_batch", "max_wait_ms", "max_sessions", "max_subscribers", "max_request_bytes", "max_megapixels", "rule",
    "log_format",
}  # fmt: skip
FIXED: dict[str, object] = {
    "host": "127.0.0.1", "root_path": "", "token": None, "token_file": None, "tokens": [], "tokens_file": None,
    "tls_cert": None, "tls_key": None, "allowed_origins": [], "frame_ancestors": [], "source": [],
    "session_metrics": False, "redis": None, "redis_file": None, "redis_markers": None, "mqtt_file": None,
    "webhook_secret_file": None,
    "lsl": False, "lsl_markers": None, "osc": None, "mqtt": None, "webhook": [], "webhook_secret": None,
    "workers": 1, "max_connections_per_client": 0, "cluster": None,
}  # fmt: skip
SILENT_AFTER = 1.0  # s without a sign of life after which no new session is opened in a worker
OPENED_IN = 120.0  # s, at most, for the opening of a session, whose model may have to be loaded first
UNDO_WITHIN = 5.0  # s, for the request that undoes another one


def passed_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings of a worker as JSON values."""
    return settings.model_dump(mode="json", include=PASSED_ON) | FIXED


class Worker(HttpPeer):
    """Hold a worker, from its start to its end."""

    def __init__(self, process: WorkerProcess, number: int) -> None:
        """Wait in a thread for the program that `process` runs; no other that runs now has its `number`."""
        self.process = process
        self.number = number
        self.since = time.monotonic()
        self.heard_at = self.since  # s, monotonic: when its last message came
        self.beat: Beat = STARTING
        self.metrics = ""  # its newest metrics as text
        self._metrics_asked_at = 0.0
        self._busy_at = self.since  # s, monotonic: when the process was last seen to use the CPU, or to wait for it
        self._cpu_seconds = 0.0
        self.asked_to_end = False
        self.hung = False
        self._heard = False  # its messages are read
        self.in_reserve = False  # started in the place of one that broke, before a session needs it
        self._ready: Future[None] = Future()
        threading.Thread(target=self._await_ready, daemon=True).start()

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels that its metrics get: node and number on a cluster, none on one machine."""
        return {"node": self.process.node, "worker": str(self.number)} if self.process.node != HERE else {}

    def wait(self) -> None:
        """Return when the program takes sessions. Raise `UserError` if it cannot."""
        self._ready.result()

    def started_within(self, seconds: float) -> bool:
        """Return whether the program takes sessions, or it is known that it cannot, after so many seconds at most."""
        return self._ready in futures.wait([self._ready], seconds).done

    async def until_ready(self) -> None:
        """Return when the program takes sessions, without holding up the loop. Raise `UserError` if it cannot."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(done.set)

        self._ready.add_done_callback(tell)
        await done.wait()
        self.wait()

    @property
    def ready(self) -> bool:
        """Return whether the program has said that it takes sessions."""
        return self._ready.done() and self._ready.exception() is None

    @property
    def silence(self) -> float:
        """Return the seconds since the last sign of life; 0 until its messages are read."""
        return time.monotonic() - self.heard_at if self._heard else 0.0

    @property
    def alive(self) -> bool:
        """Return whether the process takes sessions and has given a sign of life within `HUNG_AFTER` seconds."""
        return self.ready and not self.asked_to_end and self.silence < HUNG_AFTER

    @property
    def usable(self) -> bool:
        """Return whether a session may be opened here: the program is being started, or neither silent nor leaving."""
        if self.leaving:
            return False
        return not self._ready.done() or (self.alive and self.silence < SILENT_AFTER)

    @property
    def running(self) -> bool:
        """Return whether the process has not ended."""
        return self.process.running

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

    async def events(self, publish: Callable[[Event], None], leave: Callable[[], None]) -> None:
        """Call `publish` with each of its events until it has ended, and `leave` when it says that it will end.

        Raise `UserError` if it cannot be started.
        """
        await self.until_ready()
        try:
            async with self.process.messages() as reader:
                self.heard_at, self._heard = time.monotonic(), True
                while (body := await next_message(reader)) is not None:
                    self.heard_at = time.monotonic()
                    if is_beat(body):
                        self.beat = unpack_beat(body)
                    elif body == LEAVING:
                        leave()
                    else:
                        publish(unpack(body))
        finally:
            await self._async_client.aclose()

    def how_it_ended(self) -> str:
        """Return how the program ended, for people. Blocks until it has."""
        how = self.process.how_it_ended()
        return f"no sign of life for {HUNG_AFTER:g} s" if self.hung else how

    @property
    def hangs(self) -> bool:
        """Return whether the process is to be killed: it is silent, and not because it gets no CPU time.

        Where other processes use all of the CPU, a healthy worker may be unable to send its signs of life. A worker
        that is stopped, or waits for something that never comes, is known by using no CPU time and not being ready to
        run. A busy one is killed after `BUSY_HUNG_AFTER` seconds of silence.
        """
        now, silence = time.monotonic(), self.silence
        if self.process.node == HERE:  # of a process on another machine nothing but its silence is known
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(self.process.pid)
                times = process.cpu_times()
                used = times.user + times.system
                if used > self._cpu_seconds or process.status() == psutil.STATUS_RUNNING:
                    self._busy_at, self._cpu_seconds = now, used
        if silence <= HUNG_AFTER:
            return False
        return now - self._busy_at > HUNG_AFTER or silence > BUSY_HUNG_AFTER

    def kill_hung(self) -> None:
        """Kill the program, which gives no sign of life."""
        self.hung = True
        self.process.kill()

    def ask_to_end(self) -> None:
        """Ask the program to end; only once, because a second signal would end it at once."""
        if self.asked_to_end:
            return
        self.asked_to_end = True
        self.process.ask_to_end()

    def end(self, timeout: float) -> None:
        """End the program, by force after `timeout` seconds. Blocks."""
        self.ask_to_end()
        self.process.end(timeout)
        if "_client" in self.__dict__:
            self._client.close()

    def _make_client(self) -> httpx.Client:
        return self.process.client(ANSWER_WITHIN)

    def _make_async_client(self) -> httpx.AsyncClient:
        return self.process.async_client(ANSWER_WITHIN)

    def _check_running(self) -> None:
        if not self.running:
            raise Unavailable("the worker process that read this session has ended; close the session or open it anew")

    def _await_ready(self) -> None:
        def heard(body: bytes) -> None:
            self.beat = unpack_beat(body)

        why = self.process.wait_ready(heard)
        if why is None:
            self.heard_at = time.monotonic()
            self._ready.set_result(None)
        else:
            self._ready.set_exception(UserError(why))
