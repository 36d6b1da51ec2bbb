"""The eight rules of the house that never bend, each shown on the whole way from items to events."""

import asyncio
import json
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.sources import Recorded, demo_items

from engines.engine import Arrays
from service.analyze import events_of_recording
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.events import Event
from service.pipeline import Pipeline
from service.publish.hub import Hub
from service.runtime import Runtime, RuntimeOptions
from service.session import Session

SECONDS = 2.0
WALL_CLOCK = ("captured_at", "timing_ms", "seq", "session")


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return demo_items(SECONDS)


def run(pipeline: Pipeline, items: list[Item]) -> list[dict[str, Any]]:
    """Events of frames, without what the wall clock says."""
    events = []
    for item in items:
        if isinstance(item, Frame):
            events.append(pipeline.frame(item))
        elif isinstance(item, Sound):
            pipeline.sound(item)
    return [timeless(event) for event in events]


def timeless(event: Event) -> dict[str, Any]:
    return {key: value for key, value in event.data.items() if key not in WALL_CLOCK and key != "state"}


def test_rule_1_causal_the_future_changes_nothing(runtime: Runtime, items: list[Item]) -> None:
    half = SECONDS / 2
    noise = np.random.default_rng(0)

    def disturbed(item: Item) -> Item:
        if isinstance(item, Frame) and item.t > half:
            return replace(item, image=noise.integers(0, 256, item.image.shape, np.uint8))
        if isinstance(item, Sound) and item.t > half:
            return replace(item, samples=noise.standard_normal(len(item.samples)).astype(np.float32))
        return item

    truth = run(runtime.pipeline("a"), items)
    other = run(runtime.pipeline("a"), [disturbed(item) for item in items])
    before = [n for n, event in enumerate(truth) if event["t"] <= half]
    assert len(before) >= 25
    assert [truth[n] for n in before] == [other[n] for n in before]
    assert truth[-1] != other[-1]


def test_rule_2_live_equals_replay(runtime: Runtime, items: list[Item]) -> None:
    live: list[Event] = []
    frames = [0, 0]  # handed on, come back

    def counted() -> Any:
        for item in items:
            frames[0] += isinstance(item, Frame)
            yield item

    def publish(event: Event) -> None:
        live.append(event)
        frames[1] += event.data["timing_ms"] is not None

    session = Session(Recorded(counted(), lambda: frames[1] >= frames[0] - 1), runtime.pipeline("x"), publish)
    while not session.over:
        time.sleep(0.01)
    session.close()
    replay = events_of_recording(runtime, Recorded(items), stop=threading.Event())
    assert [timeless(e) for e in live if e.data["timing_ms"]] == [timeless(e) for e in replay if e.data["timing_ms"]]


@pytest.mark.parametrize("piece", [0.023, 0.25, 1.7])  # s; an inbox joins what waits
def test_rule_2_live_equals_replay_for_sound_alone_however_it_comes_in_pieces(runtime: Runtime, piece: float) -> None:
    samples = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32) * 0.1

    def events(length: int) -> list[dict[str, Any]]:
        pipeline = runtime.pipeline("sound")
        pieces = range(0, len(samples), length)
        sounds = [Sound(samples[begin : begin + length], 2.0 + begin / SAMPLE_RATE) for begin in pieces]
        return [timeless(event) for sound in sounds for event in pipeline.sound(sound)]

    truth = events(441)
    assert [event["t"] for event in truth] == pytest.approx([2.0 + n / 10 for n in range(len(truth))], abs=0.03)
    assert len(truth) == 30
    assert events(round(piece * SAMPLE_RATE)) == truth


@pytest.mark.parametrize("ahead", [0.3, 1.2, 3.0])
def test_sound_that_runs_ahead_of_the_pictures_does_not_stop_their_clock(
    runtime: Runtime, items: list[Item], ahead: float
) -> None:
    """Such as of a camera whose sound is stamped wrong."""
    pipeline = runtime.pipeline("ahead")
    shifted = [replace(item, t=item.t + ahead) if isinstance(item, Sound) else item for item in items]
    events: list[Event] = []
    times = []
    for item in shifted:
        if isinstance(item, Frame):
            times.append(pipeline.frame(item).data["t"])
        elif isinstance(item, Sound):
            events += pipeline.sound(item)
    assert events == []
    assert times == pytest.approx([item.t for item in items if isinstance(item, Frame)], abs=1e-3)


def test_sound_goes_on_by_itself_when_pictures_are_missing_though_it_ran_ahead(
    runtime: Runtime, items: list[Item]
) -> None:
    pipeline = runtime.pipeline("missing")
    first = next(item for item in items if isinstance(item, Frame))
    for n in range(2):  # twice as much sound as pictures
        pipeline.frame(replace(first, t=n * 0.3))
        assert pipeline.sound(Sound(np.zeros(SAMPLE_RATE * 9 // 10, np.float32), n * 0.9)) == []
    pipeline.frame(replace(first, t=0.6))
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32) * 0.1
    times = [event.data["t"] for event in pipeline.sound(Sound(noise, 1.8))]
    assert times == pytest.approx([1.6 + n / 10 for n in range(11)], abs=0.01)


def test_rule_3_never_queue_never_block(runtime: Runtime, items: list[Item]) -> None:
    """A stage that hangs for as long as ten frames take loses frames, counted, and the next event is of the newest."""
    pipeline = runtime.pipeline("slow")
    gate, first_in = threading.Event(), threading.Event()
    read = pipeline.frame

    def slow(frame: Frame) -> Event:
        first_in.set()
        gate.wait(60)
        return read(frame)

    pipeline.frame = slow  # type: ignore[method-assign]
    frames = [item for item in items if isinstance(item, Frame)][:20]
    handed_on = threading.Event()

    def source() -> Any:
        yield frames[0]
        first_in.wait(60)
        yield from frames[1:]
        handed_on.set()

    events: list[Event] = []
    session = Session(Recorded(source()), pipeline, events.append)
    assert handed_on.wait(60), "capture waited for a stage"
    gate.set()
    while not session.over:
        time.sleep(0.01)
    session.close()
    times = [event.data["t"] for event in events if event.data["timing_ms"]]
    assert times == [round(frames[0].t, 3), round(frames[-1].t, 3)]
    assert session.figures().dropped["newest_wins"] == 18


def test_rule_4_the_loop_is_for_io(runtime: Runtime, items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    """Perception, inference and encoding of events run in other threads than the loop's."""
    seen: set[int] = set()
    frame = Pipeline.frame

    def spy(self: Pipeline, item: Frame) -> Event:
        seen.add(threading.get_ident())
        return frame(self, item)

    monkeypatch.setattr(Pipeline, "frame", spy)

    async def watch() -> int:
        hub = Hub(asyncio.get_running_loop())
        with hub.subscribe() as subscription:
            session = Session(Recorded(items[:40]), runtime.pipeline("io"), hub.publish)
            async for event in subscription:
                if event.data["state"] == State.ENDED:
                    break
            await asyncio.to_thread(session.close)
        return threading.get_ident()

    loop_thread = asyncio.run(watch())
    assert seen
    assert loop_thread not in seen


def test_rule_5_seconds_not_frames(runtime: Runtime) -> None:
    fast = run(runtime.pipeline("f"), demo_items(3.0, fps=30))[-1]["faces"][0]
    slow = run(runtime.pipeline("s"), demo_items(3.0, fps=15))[-1]["faces"][0]
    for name in ("valence", "arousal"):
        assert fast["windows"]["1s"][name]["mean"] == pytest.approx(slow["windows"]["1s"][name]["mean"], abs=0.05)
        assert fast[name] == pytest.approx(slow[name], abs=0.1)


def test_rule_6_says_when_it_does_not_know(runtime: Runtime, portrait: Any) -> None:
    pipeline = runtime.pipeline("u")
    nothing = pipeline.frame(Frame(np.full((360, 640, 3), 90, np.uint8), 0.0)).data
    assert (nothing["faces"], nothing["reasons"], nothing["audio"]["status"]) == ([], ["no_face"], "no_sound")
    first = pipeline.frame(Frame(portrait, 1.0)).data["faces"][0]
    assert first["status"] == "warming_up"
    assert first["windows"] == {"1s": None, "6s": None, "12s": None}
    assert first["from_baseline"] == {"valence": None, "arousal": None}
    gone = pipeline.frame(Frame(np.zeros_like(portrait), 1.4)).data["faces"][0]
    assert (gone["status"], gone["age_ms"], gone["valence"]) == ("held", 400, first["valence"])
    assert pipeline.frame(Frame(np.zeros_like(portrait), 3.5)).data["faces"] == []
    dark = runtime.pipeline("d").frame(Frame((portrait * 0.06).astype(np.uint8), 0.0)).data["faces"]
    assert all(face["valence"] is None and face["reasons"] for face in dark)


def test_rule_7_nothing_untrained_is_served_silently(runtime: Runtime, portrait: Any) -> None:
    loaded = replace(runtime.loaded, weights=replace(runtime.loaded.weights, trained=False))
    untrained = Runtime(loaded, runtime.networks, RuntimeOptions(max_faces=1))
    try:
        assert untrained.pipeline("n").frame(Frame(portrait, 0.0)).data["model"]["trained"] is False
        assert untrained.pipeline("n").state(StateChange(State.LIVE)).data["model"]["trained"] is False
    finally:
        untrained.close()
    assert runtime.pipeline("n").frame(Frame(portrait, 0.0)).data["model"]["trained"] is True


_opened_for_writing: list[str] = []
_auditing = threading.Event()


def _audit(name: str, args: tuple[Any, ...]) -> None:
    if name == "open" and _auditing.is_set() and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        _opened_for_writing.append(str(args[0]))


sys.addaudithook(_audit)  # cannot be taken back: it listens only while the test below runs


def test_rule_8_nothing_touches_the_disk(runtime: Runtime, items: list[Item]) -> None:
    events: list[Event] = []
    _opened_for_writing.clear()
    _auditing.set()
    try:
        session = Session(Recorded(items), runtime.pipeline("disk"), events.append)
        while not session.over:
            time.sleep(0.01)
        session.close()
    finally:
        _auditing.clear()
    assert len(events) > 2
    assert _opened_for_writing == []


def test_an_engine_that_gives_nan_loses_values_not_the_session(runtime: Runtime, items: list[Item]) -> None:
    """NaN never gets out: the face abstains and the next good output is served again."""
    pipeline = runtime.pipeline("nan")
    good = pipeline._infer
    broken = {"now": True}

    def infer(inputs: Arrays) -> tuple[Arrays, float]:
        outputs, waited = good(inputs)
        if broken["now"]:
            outputs = {name: np.full_like(values, np.nan) for name, values in outputs.items()}
        return outputs, waited

    pipeline._infer = infer
    frames = [item for item in items if isinstance(item, Frame)]
    first = pipeline.frame(frames[0]).data
    assert first["faces"][0]["valence"] is None
    assert first["faces"][0]["reasons"] == ["engine_failed"]
    json.dumps(first, allow_nan=False)
    broken["now"] = False
    assert pipeline.frame(frames[1]).data["faces"][0]["valence"] is not None
