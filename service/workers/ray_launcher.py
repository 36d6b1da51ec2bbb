"""Starts workers on a Ray cluster: each in an actor on one of its nodes."""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl

import httpx
import psutil

from affectstream import __version__
from models.errors import UserError
from service.cluster import check_guarded, connect
from service.settings import DEFAULT_ENGINE, Settings
from service.workers.handle import passed_settings
from service.workers.heartbeat import START_SILENCE
from service.workers.leases import Leases, RedisLeases
from service.workers.line import connected, tls_context

LOOK_EVERY = 0.5  # s between looks at the nodes
AVOID_FOR = 30.0  # s; Ray takes up to 25 s to notice that a node is dead, and starts actors there until then
GPU_SHARE = 1 / 8  # of a GPU for each worker
END_WITHIN = 5.0  # s that the question how a worker ended may take
_BOUND = ("camera", "file")  # kinds of sources that only their own node can open


class RayWorkerProcess:
    """Run a worker program on a node of the cluster; see `service.workers.launcher.WorkerProcess`."""

    def __init__(
        self, ray: Any, ask: Callable[[], Any], id: str, node: str | None, key: str, calls: list[threading.Thread]
    ) -> None:
        """Wait for nothing yet: the actor, which `ask` returns, starts when Ray has found a node.

        `calls` takes the threads that call Ray.
        """
        self.id = id
        self.node = node or ""
        self.core: int | None = None
        self._ray = ray
        self._ask = ask
        self._actor = ask()
        self._key = key
        self._calls = calls
        self._starting = self._actor.start.remote()
        self._at: dict[str, Any] = {}
        self._over = threading.Event()  # the line is closed, or the program never started
        self._why = ""
        self._loop: asyncio.AbstractEventLoop | None = None  # where the line is read
        self._line: asyncio.StreamReader | None = None

    @property
    def pid(self) -> int:
        """Return the program's process id on its node; 0 before it is known."""
        return int(self._at.get("pid", 0))

    @property
    def running(self) -> bool:
        """Return whether the line to the program is open, or not open yet."""
        return not self._over.is_set()

    def wait_ready(self, heard: Callable[[bytes], None]) -> str | None:
        """Return when the program takes sessions, or why it does not. Blocks; `heard` is called with its beat."""
        why = None
        try:
            try:
                at = self._ray.get(self._starting, timeout=2 * START_SILENCE)
            except self._ray.exceptions.ActorDiedError:
                if self._over.is_set():  # it is not wanted any more
                    raise
                # Ray had it wait on a node that was dead already, as Ray knows only now.
                self._actor = self._ask()
                self._starting = self._actor.start.remote()
                at = self._ray.get(self._starting, timeout=2 * START_SILENCE)
            why = at.get("why")
        except self._ray.exceptions.GetTimeoutError:
            why = f"no node of the cluster could start a worker within {2 * START_SILENCE:g} s; it may have no free CPU"
        except self._ray.exceptions.RayError as error:
            why = _why_not_started(error)
        if why is None and at["version"] != __version__:
            why = f"node {at['node']} has Affectstream {at['version']} and this machine {__version__}; install the same"
        if why is not None:
            self._over.set()
            return why
        self._at, self.node, self.core = at, at["node"], at["core"]
        heard(at["beat"])
        return None

    @contextlib.asynccontextmanager
    async def messages(self) -> AsyncIterator[asyncio.StreamReader]:
        """Open the line to the program; where that fails, there are no messages."""
        async with contextlib.AsyncExitStack() as stack:
            self._loop = asyncio.get_running_loop()
            try:
                line = connected(self._at["address"], self._at["line"], self._key)
                self._line = reader = await stack.enter_async_context(line)
            except (OSError, TimeoutError) as error:
                self._why = f" ({type(error).__name__})"
                reader = asyncio.StreamReader()
                reader.feed_eof()
            try:
                yield reader
            except OSError as error:
                self._why = f" ({type(error).__name__})"
            finally:
                self._over.set()

    def client(self, timeout: float) -> httpx.Client:
        """Return a client of the program's HTTP routes."""
        return httpx.Client(timeout=timeout, **self._access())

    def async_client(self, timeout: float) -> httpx.AsyncClient:
        """Return a client of the program's HTTP routes for the loop."""
        return httpx.AsyncClient(timeout=timeout, **self._access())

    def _access(self) -> dict[str, Any]:
        return {
            "base_url": self._at["base"],
            "headers": {"Authorization": f"Bearer {self._key}"},
            "verify": tls_context(server=False) or True,
            "trust_env": False,  # a proxy of the environment is none between nodes
        }

    def how_it_ended(self) -> str:
        """Return how the program ended, for people. Blocks until the line to it is closed."""
        self._over.wait()
        return f"the connection to node {self.node or 'of its own'} was lost{self._why}"

    def ask_to_end(self) -> None:
        """Let the actor send the program SIGTERM."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._actor.ask_to_end.remote()

    def kill(self) -> None:
        """Close the line and end the actor, and the program with it."""
        self._over.set()
        if self._loop is not None and self._line is not None:
            self._loop.call_soon_threadsafe(self._line.feed_eof)
        ending = threading.Thread(target=self._end_actor, daemon=True)
        self._calls.append(ending)
        ending.start()

    def end(self, timeout: float) -> None:
        """End the program, by force after `timeout` seconds. Blocks."""
        if timeout and self._at:
            self._over.wait(timeout)
        self.kill()

    def _end_actor(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(self._actor)


class RayLauncher:
    """Start workers on a Ray cluster; see `service.workers.launcher.Launcher`."""

    new_worker_within = 10.0  # s; Ray starts workers on a dead node until it notices, which takes it up to 25 s

    def __init__(self, settings: Settings) -> None:
        """Connect to the cluster that the settings name. Raise `UserError` if that cannot be or is not safe."""
        assert settings.cluster is not None
        self._settings = settings
        self._redis = settings.redis.get_secret_value() if settings.redis is not None else None
        self._ray = connect(settings.cluster)
        from service.workers import ray_host

        self._actor_class = ray_host.WorkerHost
        self._registrar = ray_host.registrar()
        self._closed = threading.Event()
        self._calls: list[threading.Thread] = []  # that call Ray
        self._entered = False
        self._avoided: dict[str, float] = {}  # node -> s, monotonic, until when others are preferred
        self._share = GPU_SHARE if settings.engine.partition(":")[0] != DEFAULT_ENGINE else 0.0
        self._id = secrets.token_hex(8)
        self.nodes: list[dict[str, Any]] = self._enter(ray_host.SERVICE_GONE)
        check_guarded(node["address"] for node in self.nodes)
        if self._share and not self._total("GPU"):
            raise UserError(f"--engine {settings.engine} needs a GPU, and no node of the cluster has one.")
        self.leases: Leases = RedisLeases(self._redis) if self._redis is not None else ray_host.RegistrarLeases()

    def start(self, number: int, node: str | None) -> RayWorkerProcess:
        """Ask Ray for an actor; it waits there until a node has room, which an autoscaling cluster may add."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy, NotIn

        id, key = secrets.token_hex(8), secrets.token_urlsafe(32)
        given = {"settings": passed_settings(self._settings), "log_level": "WARNING" if number else "INFO"}
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": self._share, "max_concurrency": 8}
        avoided = [one["id"] for one in self.nodes if one not in self._preferred()]
        if node is None and avoided:
            others: dict[str, Any] = {"ray.io/node-id": NotIn(*avoided)}
            options["scheduling_strategy"] = NodeLabelSchedulingStrategy(hard={}, soft=others)
        elif node is None:
            options["scheduling_strategy"] = "SPREAD"
        else:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(self._named(node)["id"], soft=False)
        near = [one.address for several in psutil.net_if_addrs().values() for one in several]
        actors = self._ray.remote(self._actor_class).options(**options)
        return RayWorkerProcess(
            self._ray, lambda: actors.remote(given, key, id, near, self._redis), id, node, key, self._calls
        )

    def most(self) -> int:
        """Return `--workers`, or as many as the nodes that stay have CPUs, or shares of GPUs."""
        if self._settings.workers:
            return self._settings.workers
        return int(self._total("GPU") / self._share if self._share else self._total("CPU"))

    def has_room(self) -> bool:
        """Return whether a node has a free CPU; True with `--workers`, whose demand Ray may answer with new nodes."""
        return bool(self._settings.workers) or sum(node["free"].get("CPU", 0.0) for node in self._preferred()) >= 1

    def node_of(self, source: str) -> tuple[str, str | None]:
        """See `service.workers.launcher.Launcher`: cameras and files are on one node, all other sources on none."""
        kind, _, _ = source.strip().lower().partition(":")
        if kind not in _BOUND:
            return source, None
        head, _, query = source.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        named = [value for name, value in pairs if name == "node"]
        rest = "&".join(pair for pair in query.split("&") if not pair.startswith("node="))
        opened = f"{head}?{rest}" if rest else head
        if named:
            return opened, self._named(named[-1])["name"]
        if len(self.nodes) > 1:
            names = ", ".join(sorted(node["name"] for node in self.nodes))
            raise UserError(f"{kind}: is on one of the nodes {names}; say on which: {head}?node=NAME.")
        return opened, self.nodes[0]["name"]

    def avoid(self, node: str) -> None:
        """See `service.workers.launcher.Launcher`."""
        now = time.monotonic()
        still = {name: until for name, until in self._avoided.items() if until > now}
        self._avoided = {**still, node: now + AVOID_FOR}

    def watch(self, drained: Callable[[str], None]) -> None:
        """Look at the nodes twice a second, and call `drained` with the name of each that is about to leave."""

        def look() -> None:
            known: set[str] = set()
            while not self._closed.wait(LOOK_EVERY):
                with contextlib.suppress(self._ray.exceptions.RayError, TimeoutError):
                    self.nodes = self._look()
                    leaving = {node["name"] for node in self.nodes if node["leaving"]}
                    for name in leaving - known:
                        drained(name)
                    known = leaving

        looking = threading.Thread(target=look, name="nodes", daemon=True)
        self._calls.append(looking)
        looking.start()

    def close(self) -> None:
        """End the look at the nodes, and leave the cluster; Ray closes the connection when the process exits."""
        self._closed.set()
        for call in self._calls:  # Ray ends the process with status 1 where a thread calls it after that
            call.join(1.0)
        with contextlib.suppress(self._ray.exceptions.RayError, TimeoutError):
            self._ray.get(self._registrar.leave.remote(self._id), timeout=1.0)

    def _enter(self, within: float) -> list[dict[str, Any]]:
        """Return the nodes once the cluster takes this service; one that was killed counts for `within` seconds."""
        deadline = time.monotonic() + within
        while True:
            try:
                return self._look()
            except UserError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_EVERY)

    def _look(self) -> list[dict[str, Any]]:
        entering = self._registrar.enter.remote(self._id, self._redis is not None)
        entered, nodes = self._ray.get([entering, self._registrar.nodes.remote()], timeout=START_SILENCE)
        if not entered and not self._entered:
            raise UserError(
                "Another `affectstream serve` uses this cluster; several need --redis, the same for all, so that they "
                "share their sessions."
            )
        self._entered = True
        return list(nodes)

    def _preferred(self) -> list[dict[str, Any]]:
        """Return the nodes that stay and on which no worker was lost just now."""
        now, avoided = time.monotonic(), self._avoided
        return [node for node in self.nodes if not node["leaving"] and avoided.get(node["name"], now) <= now]

    def _named(self, name: str) -> dict[str, Any]:
        for node in self.nodes:
            if name in (node["name"], node["id"], node["address"]) and not node["leaving"]:
                return node
        names = ", ".join(sorted(node["name"] for node in self.nodes if not node["leaving"]))
        raise UserError(f"No node of the cluster is called {name[:80]!r}; its nodes are {names}.")

    def _total(self, resource: str) -> float:
        return float(sum(node["total"].get(resource, 0.0) for node in self.nodes if not node["leaving"]))


def _why_not_started(error: Exception) -> str:
    text = str(error)
    if "ModuleNotFoundError" in text or "No module named" in text:
        return "a node of the cluster cannot import Affectstream; install the same version on every node"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"a worker could not be started in the cluster ({type(error).__name__}: {lines[-1] if lines else ''})"
