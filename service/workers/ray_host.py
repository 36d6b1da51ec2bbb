"""What runs inside a Ray cluster: the actor that starts a worker on its node, and the registrar of the cluster.

This module is imported on the nodes; the service in front uses `service.workers.ray_launcher`.
"""

import contextlib
import fcntl
import os
import socket
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import ray as untyped_ray

from affectstream import __version__
from engines.cores import usable_cores
from models.errors import UserError
from service.cluster import NAMESPACE, is_guarded, node_name
from service.workers.leases import LEASE, RENEW_EVERY, LeasesAway, LeaseTable, RedisLeases
from service.workers.line import tls_context
from service.workers.local import Program

ray: Any = untyped_ray  # some of its functions have no types
REGISTRAR = f"registrar-{__version__}"  # name of the actor; another version of this program has another one
SERVICE_GONE = 5.0  # s without a sign of life after which a service counts as ended
ANSWER_WITHIN = 2.0  # s, for questions to the registrar


class WorkerHost:
    """Start the worker program on this node, renew the leases of its sessions, and end it with this actor."""

    def __init__(self, given: dict[str, Any], key: str, holder: str, near: list[str], redis: str | None) -> None:
        """Start nothing yet.

        Args:
            given: The program's settings and log level.
            key: Secret that requests to the program, and its line, must prove to know.
            holder: Name under which the worker holds its leases.
            near: Addresses of the machine of the service in front; a worker there listens on loopback alone.
            redis: URL of Redis, which keeps the leases; None: the registrar keeps them.
        """
        self._given = given
        self._key = key
        self._holder = holder
        self._near = near
        self._redis = redis
        self._core: int | None = None
        self._program: Program | None = None

    def start(self) -> dict[str, Any]:
        """Start the program and return where it listens once it takes sessions, or `why` it does not. Blocks."""
        try:
            return self._start()
        except UserError as error:
            return {"why": str(error)}

    def _start(self) -> dict[str, Any]:
        address = ray.util.get_node_ip_address()
        if address in self._near:
            address = "127.0.0.1"
        elif not is_guarded():
            raise UserError(
                f"Node {address} does not know the cluster's secret: set RAY_AUTH_MODE=token with "
                "RAY_AUTH_TOKEN_PATH=FILE, or RAY_USE_TLS=1, before `ray start`."
            )
        settings = self._given["settings"] | {"host": address, "token": self._key}
        tls = tls_context(server=True) is not None
        if tls:
            settings |= {"tls_cert": os.environ["RAY_TLS_SERVER_CERT"], "tls_key": os.environ["RAY_TLS_SERVER_KEY"]}
        with _listener(address) as requests, _listener(address) as line:
            sockets = {"requests": requests.fileno(), "line": line.fileno()}
            self._core = _claim_core()
            self._program = Program(
                {**self._given, **sockets, "settings": settings, "core": self._core},
                keep_open=(requests.fileno(), line.fileno()),
            )
            places = {"requests": requests.getsockname()[1], "line": line.getsockname()[1]}
        beats: list[bytes] = []
        why = self._program.wait_ready(beats.append)
        if why is not None:
            raise UserError(why)
        scheme = "https" if tls else "http"
        base = f"{scheme}://{address}:{places['requests']}"
        nodes = {node["NodeID"]: node_name(node) for node in ray.nodes()}
        node = nodes[ray.get_runtime_context().get_node_id()]
        threading.Thread(target=self._keep_leases, args=(base, node), daemon=True).start()
        return {
            "base": base,
            "address": address,
            "line": places["line"],
            "pid": self._program.pid,
            "core": self._core,
            "node": node,
            "beat": beats[-1],
            "version": __version__,
        }

    def ask_to_end(self) -> None:
        """Send the program SIGTERM."""
        if self._program is not None:
            self._program.ask_to_end()

    def kill(self) -> None:
        """Send the program SIGKILL."""
        if self._program is not None:
            self._program.kill()

    def how_it_ended(self) -> str:
        """Return how the program ended, for people. Blocks until it has."""
        assert self._program is not None
        return self._program.how_it_ended()

    def _keep_leases(self, base: str, node: str) -> None:
        """Renew the leases of the sessions that the program reads, and end those that another worker has by now."""
        assert self._program is not None
        teller = registrar()
        leases = RedisLeases(self._redis) if self._redis is not None else RegistrarLeases()
        headers = {"Authorization": f"Bearer {self._key}"}
        verify = tls_context(server=False) or True
        with httpx.Client(base_url=base, headers=headers, verify=verify, timeout=ANSWER_WITHIN) as client:
            while self._program.running:
                time.sleep(RENEW_EVERY)
                with contextlib.suppress(httpx.HTTPError, LeasesAway, ValueError):
                    listed = client.get("/v1/sessions").json()["sessions"]
                    names = [one["id"] for one in listed if one["state"] not in ("ended", "failed")]
                    said = {"node": node, "core": self._core, "pid": self._program.pid, "sessions": names}
                    teller.report.remote(self._holder, said)
                    for name in leases.renew(names, self._holder) if names else []:
                        client.post(f"/worker/sessions/{name}/lost")


class Registrar:
    """Hold what exists once in a cluster: its services, workers and nodes, and the leases where there is no Redis."""

    def __init__(self) -> None:
        """Begin without leases; after a restart, give none until those that were given before have ended."""
        again = ray.get_runtime_context().was_current_actor_reconstructed
        self._leases = LeaseTable(free_from=time.monotonic() + LEASE if again else 0.0)
        self._services: dict[str, tuple[bool, float]] = {}  # id -> whether it has Redis, and s when it was last heard
        self._workers: dict[str, tuple[dict[str, Any], float]] = {}  # id -> what it said, and s when

    def enter(self, service: str, has_redis: bool) -> bool:
        """Note a service that uses the cluster; return whether it may: several share sessions, and need Redis."""
        now = time.monotonic()
        self._services = {id: one for id, one in self._services.items() if now - one[1] < SERVICE_GONE}
        others = [has for id, (has, _) in self._services.items() if id != service]
        if others and not (has_redis and all(others)):
            return False
        self._services[service] = has_redis, now
        return True

    def leave(self, service: str) -> None:
        """Forget a service that ends, so that one without Redis may be started in its place at once."""
        self._services.pop(service, None)

    def report(self, worker: str, said: dict[str, Any]) -> None:
        """Note what a worker says of itself: node, core, process and sessions."""
        self._workers[worker] = said, time.monotonic()

    def workers(self) -> list[dict[str, Any]]:
        """Return what the workers last said, of those that are not silent."""
        now = time.monotonic()
        self._workers = {id: one for id, one in self._workers.items() if now - one[1] < SERVICE_GONE}
        return [{"worker": id, **said} for id, (said, _) in self._workers.items()]

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that are alive: name, id, address, resources, and whether the node is about to leave."""
        # Ray's public API does not tell which nodes are about to leave. Ray Serve and Ray Train use this call too.
        state = import_module("ray._private.state").state
        draining = state.get_draining_nodes()
        free = state.available_resources_per_node()
        return [
            {
                "name": node_name(node),
                "id": node["NodeID"],
                "address": node["NodeManagerAddress"],
                "total": node["Resources"],
                "free": free.get(node["NodeID"], {}),
                "leaving": node["NodeID"] in draining,
            }
            for node in ray.nodes()
            if node["Alive"]
        ]

    def take(self, session: str, holder: str, instead_of: str) -> bool:
        """See `service.workers.leases.Leases`."""
        return self._leases.take(session, holder, instead_of)

    def renew(self, sessions: list[str], holder: str) -> list[str]:
        """See `service.workers.leases.Leases`."""
        return self._leases.renew(sessions, holder)


def registrar() -> Any:
    """Return the handle of the cluster's registrar, which is started where there is none."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    head = [node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"] and node["Alive"]]
    options = {
        "name": REGISTRAR,
        "namespace": NAMESPACE,  # a replica of Ray Serve is in another one
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_concurrency": 16,
    }
    if head:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(head[0], soft=True)
    return ray.remote(Registrar).options(**options).remote()


class RegistrarLeases:
    """Keep leases in the registrar of the cluster."""

    def __init__(self) -> None:
        """Find the registrar."""
        self._registrar = registrar()

    def take(self, session: str, holder: str, instead_of: str) -> bool:
        """See `service.workers.leases.Leases`."""
        return bool(self._ask(self._registrar.take.remote(session, holder, instead_of)))

    def renew(self, sessions: list[str], holder: str) -> list[str]:
        """See `service.workers.leases.Leases`."""
        lost: list[str] = self._ask(self._registrar.renew.remote(sessions, holder))
        return lost

    def _ask(self, asked: Any) -> Any:
        try:
            return ray.get(asked, timeout=ANSWER_WITHIN)
        except (ray.exceptions.RayError, TimeoutError) as error:
            raise LeasesAway(
                f"the cluster's registrar, which keeps the leases of sessions, does not answer ({type(error).__name__})"
            ) from None


def _listener(address: str) -> socket.socket:
    listener = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262_144)
    return listener


def _claim_core() -> int | None:
    """Return a core that no other worker on this node has, locked until this process ends; None if all are taken."""
    folder = Path(tempfile.gettempdir()) / f"affectstream-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for core in usable_cores():
        lock = (folder / str(core)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _LOCKS.append(lock)
        return core
    return None


_LOCKS: list[Any] = []  # kept open: their locks end with this process
