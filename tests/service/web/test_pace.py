"""How many events are on their way to one reader, on a clock that moves when the test says so."""

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from service.web import pace
from service.web.pace import FIRST_WINDOW, Pace


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_reader_that_answers_slowly_is_asked_again_and_gets_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=clock.monotonic))

    async def scenario() -> None:
        pings: list[asyncio.Future[None]] = []

        def ping() -> asyncio.Future[None]:
            pings.append(asyncio.get_running_loop().create_future())
            return pings[-1]

        made = Pace(ping)
        for _ in range(int(FIRST_WINDOW)):
            await made.room()
            made.sent()
        waiting = asyncio.create_task(made.room())
        await asyncio.sleep(0)
        clock.now += 4.0  # so few events a second that one may be on its way
        asked = [*pings]  # none of them after the last event
        for pong in asked:
            pong.set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(pings) == len(asked) + 1
        assert not waiting.done()
        pings[-1].set_result(None)
        assert await waiting == 4.0

    asyncio.run(scenario())
