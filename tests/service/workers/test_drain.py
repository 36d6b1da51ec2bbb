"""Sessions that move between workers while a node is about to leave, or was cut off: without a cluster."""

import asyncio
from collections.abc import Callable
from contextlib import closing

from helpers.streams import until

from service.events import Event
from service.publish.hub import Hub, Subscription
from service.settings import load_settings
from service.workers.fleet import Fleet
from service.workers.leases import LeaseTable
from service.workers.local import LocalLauncher, LocalWorkerProcess
from service.workers.sessions import RemoteSessions


class Nodes(LocalLauncher):
    """Two processes of this machine that pass for workers on two nodes."""

    drained: Callable[[str], None]

    def start(self, number: int, node: str | None) -> LocalWorkerProcess:
        process = super().start(number, node)
        process.node = f"node-{number}"
        return process

    def watch(self, drained: Callable[[str], None]) -> None:
        self.drained = drained


async def following(subscription: Subscription, wanted: Callable[[Event], bool]) -> list[Event]:
    """The events up to the first that is wanted."""
    found: list[Event] = []
    async with asyncio.timeout(180):
        while not found or not wanted(found[-1]):
            found += await subscription.take(1)
    return found


def test_a_session_moves_before_its_node_leaves() -> None:
    async def run(launcher: Nodes, fleet: Fleet) -> None:
        hub = Hub(asyncio.get_running_loop())
        leases = LeaseTable(lambda: 0.0)  # none ends by itself: nobody renews them here
        sessions = RemoteSessions(fleet, hub, leases=leases)
        first, second = [await asyncio.to_thread(sessions.open, "demo:", name) for name in ("one", "two")]
        assert (first.node, second.node) == ("node-0", "node-1")
        assert not leases.take("one", "somebody else", "")
        with hub.subscribe("one", maxlen=10_000) as subscription:
            await following(subscription, lambda event: event.state == "live")
            old = first.worker
            launcher.drained("node-0")
            events = await following(subscription, lambda event: (event.incarnation, event.state) == (2, "live"))
        assert [event.incarnation for event in events] == sorted(event.incarnation for event in events)
        assert "ended" not in [event.state for event in events]
        assert first.node == "node-1"
        await asyncio.to_thread(until, lambda: old not in fleet.workers)  # it has nothing left to do
        third = await asyncio.to_thread(sessions.open, "demo:", "three")
        assert third.node != "node-0"
        assert leases.renew(["one"], old.process.id) == ["one"]
        await asyncio.to_thread(sessions.close_all)

    launcher = Nodes(load_settings(workers=2), 2)
    with closing(Fleet(launcher)) as fleet:
        fleet.start()
        asyncio.run(run(launcher, fleet))
