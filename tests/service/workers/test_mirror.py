"""Events of another service's session, which a service reads from Redis for its own clients."""

import asyncio
import json
from pathlib import Path

from helpers.live_server import event_data
from helpers.redis_server import redis_in
from helpers.streams import until
from redis.asyncio import Redis

from service.publish.hub import Hub
from service.publish.redis_sink import stream_name
from service.workers.mirror import Mirror


def test_who_comes_back_gets_the_last_event_once_and_then_the_next(tmp_path: Path) -> None:
    async def run(url: str) -> list[list[int]]:
        redis = Redis.from_url(url)
        hub = Hub(asyncio.get_running_loop())
        mirror = Mirror(url, hub, lambda: ["hall"])
        came = []
        for seq in (1, 2):
            await asyncio.to_thread(until, lambda: not mirror._after)  # it reads no more for the last client
            with hub.subscribe("hall") as subscription:
                await asyncio.to_thread(until, lambda: bool(mirror._after))
                event = event_data("hall", seq) | {"incarnation": 1}
                await redis.xadd(stream_name("hall"), {"event": json.dumps(event)})
                seen: list[int] = []
                while not seen or seen[-1] < seq:
                    seen += [event.seq for event in await subscription.take(8)]
                came.append(seen)
        await mirror.close()
        await redis.aclose()
        hub.close()
        return came

    with redis_in(tmp_path) as server:
        server.start()
        assert asyncio.run(asyncio.wait_for(run(server.url), 60)) == [[1], [1, 2]]
