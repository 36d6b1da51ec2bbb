"""The end of a sink that a task serves: what waits is delivered within a bounded time, the rest is counted as lost."""

import asyncio
from typing import Any

from service import metrics
from service.publish.hub import Subscription

DRAIN_TIMEOUT = 0.5  # s that closing a sink waits for what it still has
_CANCEL_EVERY = 0.1  # s


async def end(task: "asyncio.Task[Any]") -> None:
    """Cancel `task` until it has ended, and raise what it raised: redis-py, for one, may swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_EVERY)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def drain(task: "asyncio.Task[Any]", subscription: Subscription, seconds: float) -> None:
    """Close `subscription` and return once `task`, which serves it, has ended; cancel the task after `seconds`."""
    subscription.close()
    await asyncio.wait([task], timeout=seconds)
    await end(task)
    if len(subscription):
        metrics.EVENTS_DROPPED.labels(subscription.sink).inc(len(subscription))
