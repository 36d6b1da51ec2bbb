"""Metrics with names of sessions: only where they are asked for, and as Prometheus reads them."""

import pytest
from helpers.live_server import LiveServer, serving
from prometheus_client.parser import text_string_to_metric_families

from service.capture.media import State


def by_session(server: LiveServer) -> dict[str, dict[str, float]]:
    """Values by metric and session; the labels beside the name follow it."""
    with server.client() as client:
        families = text_string_to_metric_families(client.get("/metrics").text)
    found: dict[str, dict[str, float]] = {}
    for sample in (sample for family in families for sample in family.samples):
        if "session" in sample.labels:
            labels = ":".join([sample.labels.pop("session"), *sample.labels.values()])
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_no_label_names_a_session_unless_it_is_asked_for() -> None:
    with serving() as server:
        server.open("desk")
        assert by_session(server) == {}


def test_each_session_that_has_not_ended_has_its_figures() -> None:
    with serving(session_metrics=True) as server:
        server.open("desk")
        server.open("door").state = State.ENDED
        found = by_session(server)
    assert found == {
        "affect_session_event_rate": {"desk": 30.0},
        "affect_session_faces": {"desk": 1.0},
        "affect_session_latency_seconds": {"desk:0.5": pytest.approx(0.009), "desk:0.95": pytest.approx(0.014)},
        "affect_session_frames_dropped_total": {"desk:late": 2.0},
    }
