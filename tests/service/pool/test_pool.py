"""A pool on a real Ray cluster: its results are the local ones, and sessions outlive a replica and the whole pool."""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.faulty_engine import until
from helpers.live_models import loaded
from helpers.pools import pool_of, small_cluster, weights_in
from helpers.repository import ROOT
from helpers.sources import Recorded, demo_items
from prometheus_client import generate_latest

from engines.engine import Arrays
from engines.weights import Weights
from models.errors import UserError
from service import metrics
from service.analyze import events_of_recording
from service.capture.media import Frame, Item
from service.events import Event
from service.inference.queue import Superseded
from service.pool import client
from service.pool.client import Pool
from service.pool.messages import PoolRequest
from service.runtime import Runtime, RuntimeOptions
from service.session import Session

ray = pytest.importorskip("ray")
pytest.importorskip("torch")

MODEL = "mt-vgg-gru"  # carries the state of each track
WALL_CLOCK = ("captured_at", "timing_ms", "seq", "session", "state")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with small_cluster() as made:
        yield made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return weights_in(tmp_path_factory.mktemp("pool"), MODEL)


@pytest.fixture(scope="module")
def pool(cluster: Any, weights: Weights) -> Iterator[Pool]:
    made = pool_of(cluster, weights, fewest=2, most=2)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def whole(pool: Pool) -> None:
    """Begin each test with two replicas."""
    until(lambda: answering(pool) == 2 and pool.problem is None)


def members(pool: Pool) -> dict[str, Any]:
    """Return the replicas by name; none while the supervisor is being started anew."""
    try:
        return dict(pool._ask().members)
    except ray.exceptions.RayError:
        return {}


def answering(pool: Pool) -> int:
    """Return how many replicas answer; none where one of them has ended and the supervisor does not know it yet."""
    try:
        found = members(pool).values()
        ray.get([one.ping.remote() for one in found], timeout=60)
    except ray.exceptions.RayError:
        return 0
    return len(found)


def inputs(rows: int, seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    shapes = {name: (rows, *shape[1:]) for name, shape in loaded(MODEL).engine.inputs.items()}
    return {
        name: random.integers(0, 256, shape, np.uint8)
        if name == "face"
        else random.standard_normal(shape, dtype=np.float32)
        for name, shape in shapes.items()
    }


def pooled_runtime(pool: Pool, runtime: Runtime) -> Runtime:
    options = RuntimeOptions(model=pool.loaded.weights.model, max_faces=1)
    return Runtime(pool.loaded, runtime.networks, options, pool=pool)


def timeless(events: Iterable[Event]) -> list[dict[str, Any]]:
    frames = (event.data for event in events if event.data["timing_ms"] is not None)
    return [{name: value for name, value in data.items() if name not in WALL_CLOCK} for data in frames]


def replayed(made: Runtime, items: list[Item]) -> list[dict[str, Any]]:
    return timeless(events_of_recording(made, Recorded(items), stop=threading.Event()))


def test_pooled_results_are_the_local_ones_whichever_replica_gives_them(pool: Pool) -> None:
    for n in range(8):
        given = inputs(1 + n % 3, n)
        found = pool.submit(MODEL, given, session=f"room {n}", patient=True).result(60)
        expected = loaded(MODEL).engine(given)
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5)


@pytest.fixture(scope="module")
def tsav(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Return a pool of a small TSAV, which reads eight pictures of a face and sound."""
    made = pool_of(cluster, weights_in(tmp_path_factory.mktemp("tsav"), "tsav"))
    yield made
    made.close()


def test_live_equals_replay_and_both_equal_the_model_in_this_process(tsav: Pool, runtime: Runtime) -> None:
    items = demo_items(1.0)
    local = Runtime(loaded("tsav"), runtime.networks, RuntimeOptions(model="tsav", max_faces=1))
    pooled = pooled_runtime(tsav, runtime)
    live: list[Event] = []
    handed = [0]

    def counted() -> Iterator[Item]:
        for item in items:
            handed[0] += isinstance(item, Frame)
            yield item

    def taken() -> bool:
        return sum(event.data["timing_ms"] is not None for event in live) >= handed[0] - 1

    session = Session(Recorded(counted(), taken), pooled.pipeline("x"), live.append)
    until(lambda: session.over)
    session.close()
    expected = replayed(local, items)
    local.close()
    assert any(data["faces"] and data["faces"][0]["valence"] is not None for data in expected)
    assert replayed(pooled, items) == timeless(live) == expected


def test_what_comes_too_late_is_dropped_on_the_replica_and_counted_at_metrics(pool: Pool) -> None:
    def late() -> float:
        shown = generate_latest().decode().splitlines()
        return sum(float(line.split()[-1]) for line in shown if line.startswith("affect_pool_late_total"))

    until(lambda: "affect_pool_replicas" in generate_latest().decode())
    before = late()
    handle = next(iter(members(pool).values()))
    old, patient = ray.get(
        handle.run.remote([PoolRequest("late", inputs(1), 60.0, False), PoolRequest("p", inputs(1), 60.0, True)])
    )
    assert (old.outputs, old.skipped) == (None, "late")
    assert patient.outputs is not None
    until(lambda: late() == before + 1)
    assert 'affect_pool_replicas{model="mt-vgg-gru"} 2.0' in generate_latest().decode()


def test_a_late_request_is_dropped_before_it_is_sent_and_counted(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = metrics.SKIPPED.labels("late")
    before = counter._value.get()
    monkeypatch.setattr(client, "CALLS", 0)  # every replica has as many calls as it may have
    with pytest.raises(Superseded, match="past its use"):
        pool.submit(MODEL, inputs(1), session="late").result(60)
    assert counter._value.get() == before + 1


def test_a_recording_goes_on_with_another_replica_where_one_is_killed(pool: Pool) -> None:
    before = members(pool)
    pending = [pool.submit(MODEL, inputs(1, n), session=f"recording {n}", patient=True) for n in range(6)]
    for handle in list(before.values())[:1]:
        ray.kill(handle)
    pending += [pool.submit(MODEL, inputs(1, n), session=f"recording {n}", patient=True) for n in range(6, 12)]
    for n, one in enumerate(pending):
        np.testing.assert_allclose(
            one.result(60)["valence_arousal"], loaded(MODEL).engine(inputs(1, n))["valence_arousal"], atol=1e-5
        )
    until(lambda: len(members(pool)) == 2 and set(members(pool)) != set(before))


def test_a_live_session_goes_on_without_a_pool_says_so_and_comes_back(pool: Pool, runtime: Runtime) -> None:
    made = pooled_runtime(pool, runtime)
    pipeline = made.pipeline("live", live=True)
    frames = itertools.cycle(item for item in demo_items(1.0) if isinstance(item, Frame))
    clock = itertools.count()

    def face() -> dict[str, Any]:
        time.sleep(0.02)
        faces = pipeline.frame(replace(next(frames), t=next(clock) / 30)).data["faces"]
        return dict(faces[0]) if faces else {}

    until(lambda: face().get("valence") is not None)
    for handle in members(pool).values():
        ray.kill(handle)
    until(lambda: "engine_failed" in face().get("reasons", []))
    until(lambda: bool(made.problems()) or pool.problem is None)
    until(lambda: face().get("valence") is not None and "engine_failed" not in face()["reasons"])
    until(lambda: not made.problems())
    assert made.alive


def test_the_supervisor_is_started_anew_and_keeps_the_replicas(pool: Pool) -> None:
    before = set(members(pool))
    ray.kill(pool._supervisor, no_restart=False)
    until(lambda: pool.submit(MODEL, inputs(1), session="meanwhile", patient=True).result(60) is not None)
    until(lambda: set(members(pool)) == before)


def test_the_status_of_the_cluster_has_the_pool(pool: Pool) -> None:
    command = [sys.executable, "-P", "-m", "service.cli", "cluster", "status", "--json", "--cluster"]
    done = subprocess.run([*command, pool._options.address], capture_output=True, text=True, check=True)
    (row,) = [one for one in json.loads(done.stdout)["pools"] if one["pool"] == pool._spec.name]
    assert (row["replicas"], row["waiting"], row["problem"]) == (2, 0, "-")
    assert row["dropped"] >= 0


def test_a_cluster_without_room_is_refused_in_a_sentence(cluster: Any, weights: Weights) -> None:
    with pytest.raises(UserError, match=r"No node .* has room .*, which needs 1 CPU and 1 GPU; .* 0 GPU"):
        pool_of(cluster, weights, gpus=1.0)


def test_another_cluster_than_there_is_is_a_sentence() -> None:
    code = (
        "from service.cluster import connect\n"
        "from models.errors import UserError\n"
        "try: connect('127.0.0.1:1')\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "There is no Ray cluster at 127.0.0.1:1 (Connection refused); start one with `ray start" in done.stdout
