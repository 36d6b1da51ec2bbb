"""The end of a task that serves a sink."""

import asyncio

import pytest

from service.publish.draining import end


def test_a_task_ends_though_a_library_swallows_the_first_cancellation() -> None:
    async def run() -> int:
        swallowed = 0

        async def stubborn() -> None:
            nonlocal swallowed
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    if swallowed:
                        raise
                    swallowed += 1

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        await end(task)
        assert task.cancelled()
        return swallowed

    assert asyncio.run(run()) == 1


def test_what_a_task_raised_is_raised() -> None:
    async def run() -> None:
        async def broken() -> None:
            raise ValueError("no")

        task = asyncio.create_task(broken())
        await asyncio.sleep(0)
        await end(task)

    with pytest.raises(ValueError, match="no"):
        asyncio.run(run())
