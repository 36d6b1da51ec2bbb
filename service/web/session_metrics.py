"""Metrics with the names of sessions, where the setting `session_metrics` asks for them.

Names of sessions may be those of people, and Prometheus keeps what it has scraped, so they are off by default. The
figures are those of `GET /v1/sessions`, and are computed when they are asked for.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import REGISTRY, Collector

from service.capture.media import State
from service.web.live import Live, Watched

_OVER = (State.ENDED, State.FAILED)


class SessionMetrics(Collector):
    """Collect the metrics of this process, and of each session that has not ended."""

    def __init__(self, live: Live) -> None:
        """Collect of the sessions of `live`."""
        self._live = live

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return chain(REGISTRY.collect(), session_families(self._live))


def session_families(live: Live) -> Iterator[Metric]:
    """Yield the metrics with names of sessions; none where the setting does not ask for them."""
    if live.settings.session_metrics:
        yield from families_of([one for one in live.sessions.list() if one.state not in _OVER])


def families_of(sessions: list[Watched]) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
    """Yield the metrics of `sessions`, each a sample for every session."""
    rate = GaugeMetricFamily("affect_session_event_rate", "Events a second, over the last 5 s", labels=["session"])
    faces = GaugeMetricFamily("affect_session_faces", "Faces in view", labels=["session"])
    latency = GaugeMetricFamily(
        "affect_session_latency_seconds",
        "From the decoded frame to its event, over the last 300 events",
        labels=["session", "quantile"],
    )
    dropped = CounterMetricFamily("affect_session_frames_dropped", "Frames dropped", labels=["session", "reason"])
    for session in sessions:
        figures = session.figures()
        rate.add_metric([session.name], figures.fps)
        faces.add_metric([session.name], figures.faces)
        for quantile, milliseconds in (("0.5", figures.latency_ms.p50), ("0.95", figures.latency_ms.p95)):
            if milliseconds is not None:
                latency.add_metric([session.name, quantile], milliseconds / 1e3)
        for reason, count in figures.dropped.items():
            dropped.add_metric([session.name, reason], count)
    yield from (rate, faces, latency, dropped)
