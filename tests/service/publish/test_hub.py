"""The hub: bounded queues, oldest dropped and counted, one wake-up a batch, late joiners, sessions forgotten."""

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from service.events import Event
from service.publish.hub import Hub, Subscription


def event(seq: int, session: str = "desk") -> Event:
    return Event.of({"session": session, "seq": seq, "state": "live", "faces": []})


def padded(seq: int, length: int) -> Event:
    return Event.of({"session": "desk", "seq": seq, "state": "live", "pad": "x" * length, "faces": []})


def dropped(sink: str) -> float:
    return REGISTRY.get_sample_value("affect_events_dropped_total", {"sink": sink}) or 0.0


def subscribers(sink: str) -> float:
    return REGISTRY.get_sample_value("affect_subscribers", {"sink": sink}) or 0.0


async def settle() -> None:
    """Lets what was scheduled on the loop run."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_events_of_a_thread_arrive_in_order() -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        with hub.subscribe("desk", maxlen=1000) as subscription:
            thread = threading.Thread(target=lambda: [hub.publish(event(seq)) for seq in range(500)])
            thread.start()
            seen = [(await anext(subscription)).seq for _ in range(500)]
            thread.join()
        return seen

    assert asyncio.run(run()) == list(range(500))


def test_never_queue_never_block_a_slow_subscriber_loses_its_oldest_events_and_no_other_does() -> None:
    async def run() -> tuple[list[int], int, list[int], int]:
        hub = Hub(asyncio.get_running_loop())
        slow, quick = hub.subscribe(maxlen=4, sink="slow"), hub.subscribe(maxlen=100, sink="quick")
        before = dropped("slow")
        for seq in range(10):
            hub.publish(event(seq))
        assert dropped("slow") - before == 6
        hub.close()
        return [e.seq async for e in slow], slow.dropped, [e.seq async for e in quick], quick.dropped

    assert asyncio.run(run()) == ([6, 7, 8, 9], 6, list(range(10)), 0)


def test_a_queue_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.publish.hub.QUEUE_BYTES", 10_000)

    async def run() -> tuple[list[int], int]:
        hub = Hub(asyncio.get_running_loop())
        subscription = hub.subscribe(maxlen=1000)
        for seq in range(50):
            hub.publish(padded(seq, 950))
        hub.publish(padded(50, 20_000))
        hub.close()
        return [e.seq async for e in subscription], subscription.dropped

    assert asyncio.run(run()) == ([50], 50)  # the newest is never lost, however large


def test_publishing_returns_while_the_loop_is_busy() -> None:
    async def run() -> int:
        hub = Hub(asyncio.get_running_loop())
        subscription = hub.subscribe(maxlen=16)
        thread = threading.Thread(target=lambda: [hub.publish(event(seq)) for seq in range(10_000)])
        thread.start()
        thread.join()  # the loop does nothing meanwhile, and publishing ends all the same
        return len(subscription)

    assert asyncio.run(run()) == 16


def test_the_loop_is_woken_once_per_batch() -> None:
    async def run() -> int:
        loop = asyncio.get_running_loop()
        calls = 0
        plain = loop.call_soon_threadsafe

        def counting(*arguments: Any, **options: Any) -> asyncio.Handle:
            nonlocal calls
            calls += 1
            return plain(*arguments, **options)

        loop.call_soon_threadsafe = counting  # type: ignore[method-assign]
        hub = Hub(loop)
        hub.subscribe(maxlen=1000)
        session = threading.Thread(target=lambda: [hub.publish(event(seq)) for seq in range(300)])
        session.start()
        session.join()
        return calls

    assert asyncio.run(run()) == 1


def test_a_loop_that_publishes_itself_is_not_woken() -> None:
    async def run() -> int:
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe = None  # type: ignore[method-assign, assignment]
        hub = Hub(loop)
        with hub.subscribe() as subscription:
            asyncio.get_running_loop().call_later(0.01, hub.publish, event(7))
            return (await subscription.take(1))[0].seq

    assert asyncio.run(run()) == 7


def test_a_late_joiner_gets_the_last_event_of_each_matching_session_at_once() -> None:
    async def run() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        hub = Hub(asyncio.get_running_loop())
        for seq in range(3):
            hub.publish(event(seq, "desk"))
            hub.publish(event(seq + 10, "door"))
        everything, one = hub.subscribe(), hub.subscribe("door")
        return [(e.session, e.seq) for e in await everything.take(9)], [(e.session, e.seq) for e in await one.take(9)]

    assert asyncio.run(run()) == ([("desk", 2), ("door", 12)], [("door", 12)])


def test_a_removed_session_is_forgotten_and_its_subscribers_come_to_their_end() -> None:
    async def run() -> tuple[list[int], list[Event], int]:
        hub = Hub(asyncio.get_running_loop())
        hub.publish(event(7))
        one, everything = hub.subscribe("desk"), hub.subscribe()
        hub.forget("desk")
        ended = [e.seq async for e in one]
        hub.publish(event(8, "door"))
        late = hub.subscribe("desk")
        await settle()
        return ended, [*late._queue], len(await everything.take(9))

    assert asyncio.run(run()) == ([7], [], 2)


def test_a_subscriber_that_waits_is_released_by_the_hubs_closing() -> None:
    async def run() -> list[Event]:
        hub = Hub(asyncio.get_running_loop())
        waiting = asyncio.create_task(hub.subscribe().take(1))
        await settle()
        hub.close()
        hub.publish(event(1))
        return await waiting

    assert asyncio.run(run()) == []


def test_subscribers_are_counted_by_sink() -> None:
    async def run() -> tuple[float, float]:
        hub = Hub(asyncio.get_running_loop())
        before = subscribers("counted")
        with hub.subscribe(sink="counted"), hub.subscribe(sink="counted"):
            inside = subscribers("counted") - before
            assert hub.count("counted") == 2
        return inside, subscribers("counted") - before

    assert asyncio.run(run()) == (2, 0)


def test_the_loop_is_for_io_landmarks_are_encoded_by_the_publishing_thread_where_they_are_asked_for() -> None:
    async def run() -> list[bool]:
        hub = Hub(asyncio.get_running_loop())
        unheard, plain, rich = event(1, "door"), event(1, "desk"), event(1, "hall")
        hub.publish(unheard)
        with hub.subscribe("desk"):
            hub.publish(plain)
        with hub.subscribe("hall", landmarks=True):
            hub.publish(rich)
        return ["text_with_landmarks" in vars(one) for one in (unheard, plain, rich)]

    assert asyncio.run(run()) == [False, False, True]


@given(maxlen=st.integers(1, 9), steps=st.lists(st.one_of(st.just("publish"), st.integers(1, 5)), max_size=60))
def test_a_queue_gives_the_newest_events_in_order_and_counts_the_rest(maxlen: int, steps: list[str | int]) -> None:
    async def run() -> None:
        hub = Hub(asyncio.get_running_loop())
        subscription = hub.subscribe(maxlen=maxlen)
        model: list[int] = []
        published = lost = 0
        for step in steps:
            if step == "publish":
                hub.publish(event(published))
                model.append(published)
                published += 1
                if len(model) > maxlen:
                    model.pop(0)
                    lost += 1
            elif model:
                taken = [e.seq for e in await subscription.take(int(step))]
                assert taken == model[: int(step)]
                model = model[int(step) :]
        assert subscription.dropped == lost
        assert len(subscription) == len(model)

    asyncio.run(run())


def test_a_sentence_that_is_not_utf_8_goes_out_all_the_same() -> None:
    detail = "There is no file /tmp/\udcff; check the path."  # as Python spells a name of other bytes
    event = Event.of({"session": "desk", "seq": 0, "state": "failed", "detail": detail, "faces": []})
    assert json.loads(event.text)["detail"] == detail
    assert event.data["detail"] == detail


def test_the_event_before_the_end_is_never_lost() -> None:
    """Event and end may come between a look at the empty queue and a look at whether it is closed."""

    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        subscription = hub.subscribe()
        pop = hub._pop

        def pop_just_before(one: Subscription, limit: int) -> list[Event] | None:
            found = pop(one, limit)
            if found is None:
                publisher = threading.Thread(target=lambda: (hub.publish(event(7)), hub.close()))
                publisher.start()
                publisher.join()
            return found

        hub._pop = pop_just_before  # type: ignore[method-assign]
        return [e.seq async for e in subscription]

    assert asyncio.run(run()) == [7]
