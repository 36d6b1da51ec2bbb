"""Wait in the event loop for what other tasks and processes do."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool]) -> None:
    """Waits for `condition`; the test's own time limit is the only one."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
