"""The supervisor of a pool: a named actor that starts the replicas, replaces those that end, and adapts their number.

It is started by the first service that asks for the pool, and outlives it. If its node is lost, Ray starts it on
another one, where it finds the replicas by their names. A pool that no service has asked about for a while ends.
"""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Any

from service import logs
from service.cluster import NAMESPACE, first_line
from service.pool.messages import Counts, Facts, Load, PoolStatus, Spec
from service.pool.scaling import Scaling, load_between

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # s
SILENT_AFTER = 10.0  # s without an answer after which a replica is ended and replaced
STARTS_WITHIN = 120.0  # s without an answer while its engine is compiled
# s, after which the status says that the cluster has no room for a replica: one that no node could ever have, and one
# for which nodes may be in use, or slow, or being added.
PLACED_WITHIN, PLACED_SOMETIME_WITHIN = 20.0, 180.0
FOUND_WITHIN = 3.0  # s that replicas which are found again have to answer
UNUSED_AFTER = 60.0  # s without a service, after which the pool ends
LEAVE_AFTER = 3.0  # s from taking a replica off the list to its end, in which its last requests are answered
LOAD_OVER = 5  # looks that the load is taken over
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # s between attempts to start a replica that failed


@dataclass(eq=False, slots=True)
class _Member:
    """Hold one replica that runs or is being started."""

    name: str
    handle: Any
    started: float  # s
    heard: float  # s, when it answered last
    placed: bool = False
    facts: Facts | None = None  # once it takes requests
    counts: list[Counts] = field(default_factory=list)


class Supervisor:
    """Keep the replicas of one pool running."""

    def __init__(self, spec: Spec) -> None:
        """Begin to look after the pool of `spec`, and take over the replicas that it has."""
        self._spec = spec
        self._members: dict[str, _Member] = {}
        self._scaling = Scaling(1 / spec.rate, spec.fewest, spec.most)
        self._load = Load()
        self._late = 0  # requests that replicas which have ended had dropped
        self._problem = ""
        self._pause, self._not_before = FIRST_PAUSE, 0.0
        self._asked = time.monotonic()  # s, when a service asked last
        self._facts: Facts | None = None
        self._file: Any = None  # a reference to the bytes of the weights in Ray's object store
        self._over = False
        self._found = asyncio.Event()  # the replicas of an earlier run are taken over
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Look after the pool from now on; calling it again does nothing."""
        if not self._tasks:
            logs.set_up(logging.INFO, form=self._spec.log_form)
            self._spawn(self._look_after())

    async def status(self) -> PoolStatus:
        """Return the replicas that take requests, and how the pool is."""
        await self.begin()  # after Ray has started this actor anew
        await self._found.wait()
        self._asked = time.monotonic()
        return self._status()

    async def report(self) -> PoolStatus:
        """Return the status without the replicas, for a caller that does not use the pool, nor keeps it alive."""
        return replace(self._status(), members={})

    def _status(self) -> PoolStatus:
        members = {name: one.handle for name, one in self._members.items() if one.facts is not None}
        late = self._late + sum(one.counts[-1].late for one in self._members.values() if one.counts)
        return PoolStatus(members, self._facts, self._problem, self._load, late, self._file is None)

    async def take_file(self, content: bytes) -> None:
        """Start replicas on this file of the weights from now on.

        It is no argument of the actor's start, because Ray could not start the actor anew once the service that gave it
        is gone.
        """
        import ray

        self._file = ray.put(content)

    async def end(self) -> None:
        """End the replicas, and start none from now on."""
        self._over = True
        for one in [*self._members.values()]:
            self._drop(one, end=True)

    @staticmethod
    def replica_class() -> type:
        """Return the class of the replicas, imported late, so that this actor starts without the engines' libraries."""
        from service.pool.replica import Replica

        return Replica

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_after(self) -> None:
        try:
            await self._find()
        finally:
            self._found.set()
        while not self._over:
            now = time.monotonic()
            if now - self._asked > UNUSED_AFTER:
                import ray

                await self.end()
                _kill(ray.get_runtime_context().current_actor)
                return
            try:
                await self._look(now)
            except Exception:
                # The outermost frame of the pool: whatever fails in one look must not end the next ones.
                log.exception("the supervisor of %s failed once", self._spec.name)
            await asyncio.sleep(LOOK_EVERY)

    async def _find(self) -> None:
        """Take over the replicas that an earlier run of this actor started, so that services go on using them."""
        import ray
        from ray.util import list_named_actors

        for one in list_named_actors(all_namespaces=True):
            name = one["name"]
            if one["namespace"] == NAMESPACE and name.startswith(f"{self._spec.name}/"):
                self._adopt(name, ray.get_actor(name, namespace=NAMESPACE))
        if loading := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(loading, timeout=FOUND_WITHIN)

    async def _look(self, now: float) -> None:
        """Ask every replica for its counts, drop those that are gone, and start or end some."""
        await asyncio.gather(*(self._ask(one) for one in [*self._members.values()]))
        serving = {one.name: one for one in self._members.values() if one.counts}
        if serving:
            then = {name: one.counts[0] for name, one in serving.items() if len(one.counts) > 1}
            spans = max((len(one.counts) - 1 for one in serving.values()), default=1)
            self._load = load_between(then, {n: o.counts[-1] for n, o in serving.items()}, max(1, spans) * LOOK_EVERY)
        else:
            self._load = Load()
        await self._reach(self._scaling.wanted(len(self._members), self._load, now), now)

    async def _ask(self, one: _Member) -> None:
        from ray.exceptions import ActorUnavailableError, RayError

        try:
            counts = await asyncio.wait_for(one.handle.counts.remote(), LOOK_EVERY)
        except (TimeoutError, ActorUnavailableError):
            silent = time.monotonic() - one.heard
            if one.placed and silent > (SILENT_AFTER if one.facts is not None else STARTS_WITHIN):
                log.error("replica %s gave nothing for %.0f s and is replaced", one.name, silent)
                self._drop(one, end=True)
            elif not one.placed:
                self._note_no_room(time.monotonic() - one.started)
            return
        except RayError as error:
            log.error("replica %s has ended: %s", one.name, first_line(error))
            self._drop(one)
            return
        one.heard, one.placed = time.monotonic(), True
        if one.facts is not None:
            one.counts = [*one.counts, counts][-LOAD_OVER - 1 :]

    async def _reach(self, wanted: int, now: float) -> None:
        """Start replicas, or end those that were started last, until there are `wanted`."""
        if len(self._members) < wanted and now >= self._not_before and self._file is not None:
            for _ in range(wanted - len(self._members)):
                self._start()
        for one in [*self._members.values()][wanted:]:
            log.info("replica %s is not needed any more", one.name)
            self._drop(one)
            asyncio.get_running_loop().call_later(LEAVE_AFTER, _kill, one.handle)

    def _start(self) -> None:
        import ray

        name = f"{self._spec.name}/{secrets.token_hex(4)}"
        actor: Any = ray.remote(self.replica_class())
        handle = actor.options(
            name=name, namespace=NAMESPACE, lifetime="detached", max_restarts=0,
            num_cpus=self._spec.cpus, num_gpus=self._spec.gpus,
        ).remote()  # fmt: skip
        self._adopt(name, handle)

    def _adopt(self, name: str, handle: Any) -> None:
        now = time.monotonic()
        one = self._members[name] = _Member(name, handle, now, now)
        self._spawn(self._load_engine(one))

    async def _load_engine(self, one: _Member) -> None:
        from ray.exceptions import ActorUnavailableError, RayError

        facts: Facts | str | None = None
        while facts is None and self._members.get(one.name) is one:
            try:
                facts = await one.handle.load.remote(self._spec, self._file if self._file is not None else b"")
            except ActorUnavailableError:  # for a while; `_ask` finds out whether it has ended
                await asyncio.sleep(LOOK_EVERY)
            except RayError as error:
                facts = f"A replica ended while it was started: {first_line(error)}"
        if self._members.get(one.name) is not one:
            return
        if isinstance(facts, Facts):
            one.facts = self._facts = facts
            one.heard = time.monotonic()
            self._problem, self._pause = "", FIRST_PAUSE
            return
        assert facts is not None
        self._problem = facts
        log.error("%s: %s", one.name, facts)
        self._drop(one, end=True)
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _drop(self, one: _Member, *, end: bool = False) -> None:
        self._members.pop(one.name, None)
        self._late += one.counts[-1].late if one.counts else 0
        if end:
            _kill(one.handle)

    def _note_no_room(self, waited: float) -> None:
        """Say that there is no room, once a replica has waited for long enough."""
        if waited <= PLACED_WITHIN:
            return
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = {"CPU": self._spec.cpus, "GPU": self._spec.gpus}
        fits = any(all(node.get(name, 0.0) >= need for name, need in needs.items()) for node in nodes)
        if fits and waited <= PLACED_SOMETIME_WITHIN:
            return
        there = " and ".join(f"{sum(node.get(name, 0.0) for node in nodes):g} {name}" for name in needs)
        self._problem = (
            f"No node of the Ray cluster has room for a replica of {self._spec.model}, which needs {self._spec.needs}; "
            f"the whole cluster has {there}, some of it in use."
        )


def _kill(handle: Any) -> None:
    import ray

    ray.kill(handle)
