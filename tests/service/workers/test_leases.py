"""Leases of sessions: one holder at a time, and a later one only once the earlier has given up or fallen silent."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from helpers.redis_server import RedisServer, redis_in

from service.workers.leases import LEASE, Leases, LeasesAway, LeaseTable, RedisLeases


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_in(tmp_path_factory.mktemp("redis")) as running:
        running.start()
        yield running


@pytest.fixture(params=["table", "redis"])
def leases(request: pytest.FixtureRequest) -> Iterator[Leases]:
    if request.param == "table":
        yield LeaseTable()
        return
    with closing(RedisLeases(request.getfixturevalue("server").url)) as found:
        yield found


def test_a_lease_has_one_holder(leases: Leases) -> None:
    assert leases.take("hall", "first", "")
    assert not leases.take("hall", "second", "")
    assert leases.take("hall", "first", "")
    assert leases.take("door", "second", "")
    assert leases.renew(["hall", "door"], "first") == ["door"]


def test_a_lease_passes_from_a_holder_that_has_ended_to_the_next(leases: Leases) -> None:
    assert leases.take("desk", "first", "")
    assert leases.take("desk", "second", "first")
    assert leases.renew(["desk"], "first") == ["desk"]
    assert leases.renew(["desk"], "second") == []


def test_a_lease_that_was_not_renewed_is_free() -> None:
    clock = Clock()
    table = LeaseTable(clock)
    assert table.take("hall", "first", "")
    clock.now += LEASE - 1
    assert table.renew(["hall"], "first") == []
    clock.now += LEASE - 1
    assert not table.take("hall", "second", "")
    clock.now += 1
    assert table.take("hall", "second", "")
    assert table.renew(["hall"], "first") == ["hall"]


def test_redis_frees_a_lease_as_well(server: RedisServer) -> None:
    from redis import Redis

    with closing(RedisLeases(server.url)) as leases, Redis.from_url(server.url) as client:
        assert leases.take("late", "first", "")
        left = client.pttl("affectstream:lease:late")
    assert 0 < left <= LEASE * 1e3


def test_a_table_that_was_lost_waits_before_it_gives_leases_to_others() -> None:
    clock = Clock()
    table = LeaseTable(clock, free_from=clock.now + LEASE)
    assert table.renew(["hall"], "first") == []  # who holds one says so
    assert not table.take("door", "second", "")
    clock.now += LEASE
    assert table.take("door", "second", "")


def test_a_redis_that_is_away_is_said_to_be() -> None:
    with pytest.raises(LeasesAway, match="does not answer"):
        RedisLeases("redis://127.0.0.1:1/0").take("hall", "first", "")
