"""A session stays with its replica, few others move where one comes or goes, and none has far more than its share."""

from collections import Counter

from service.pool.routing import EXCESS, FORGET, Routes

SESSIONS = [f"service/room {n}" for n in range(400)]
REPLICAS = [f"pool/{n}" for n in range(8)]


def routed(routes: Routes, replicas: list[str], now: float = 0.0) -> dict[str, str]:
    return {session: routes.replica_of(session, replicas, now) for session in SESSIONS}


def test_a_session_stays_with_its_replica_whatever_the_order_of_the_list() -> None:
    routes = Routes()
    assert routed(routes, REPLICAS) == routed(routes, REPLICAS[::-1], 1.0)


def test_no_replica_has_more_than_its_share_and_a_tenth() -> None:
    counts = Counter(routed(Routes(), REPLICAS).values())
    assert set(counts) == set(REPLICAS)
    assert max(counts.values()) <= EXCESS * len(SESSIONS) / len(REPLICAS) + 1


def test_few_sessions_of_other_replicas_move_where_one_goes() -> None:
    routes = Routes()
    before, after = routed(routes, REPLICAS), routed(routes, REPLICAS[:-1])
    others = [session for session in SESSIONS if before[session] != REPLICAS[-1]]
    assert sum(before[session] != after[session] for session in others) < len(others) / 4
    assert set(after.values()) == set(REPLICAS[:-1])


def test_eight_sessions_of_a_service_use_more_than_half_of_eight_replicas() -> None:
    routes = Routes()
    assert len({routes.replica_of(f"cam {n}", REPLICAS, 0.0) for n in range(8)}) > 4


def test_sessions_that_ended_make_room() -> None:
    routes = Routes()
    routed(routes, REPLICAS)
    later = 2 * FORGET
    chosen = {routes.replica_of(f"new {n}", REPLICAS, later) for n in range(8)}
    assert len(chosen) > 4
    assert sum(routes._counts.values()) == 8
