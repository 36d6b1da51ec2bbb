"""The metrics of several processes as those of one: what is counted or measured adds up, and never goes back.

On a cluster, metrics from a worker have the labels `node` and `worker`. The number of a worker that ended is given to
the next one, which counts on from there, so that there are no more numbers than workers at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from prometheus_client import Metric, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import REGISTRY, Collector

from service.web.live import Running
from service.web.session_metrics import session_families
from service.workers.fleet import ANSWER_WITHIN, Fleet
from service.workers.shared import SharedSessions

# Facts about a process, and flags: of these the largest of all processes is shown, not their sum.
_FACTS = (
    "affect_engine_info", "python_info", "process_start_time_seconds", "process_max_fds",
    "affect_pool_replicas", "affect_pool_queue_requests", "affect_pool_wait_seconds", "affect_pool_batch_faces",
    "affect_pool_busy_ratio", "affect_pool_late",
)  # fmt: skip
WHOLE = "affectstream.whole"  # key of the scope of a request that is for all services, whichever of them answers it
_COUNTS = ("counter", "histogram", "summary")  # types that never go back
_FOLD_FROM = 8  # texts of workers that broke, from which on they are folded into one

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request, live: Running) -> Response:
    """Return the metrics of the service and its workers together; see `service.web.routes.service.metrics`.

    What a worker that broke had counted when it was last asked stays in the sums. Through the proxies of Ray Serve,
    which choose a front end for each request, the sums are those of all front ends.
    """
    assert isinstance(live.runtime, Fleet)
    running, departed = await live.runtime.metrics()
    counted = [*merged(counts(families_of(text, labels)) for labels, text in departed)]
    if len(departed) >= _FOLD_FROM:
        live.runtime.fold_departed(generate_latest(_Merged(counted)).decode())
    families = [REGISTRY.collect(), *(families_of(text, labels) for labels, text in running), counted]
    families.append(session_families(live))
    if WHOLE in request.scope and isinstance(live.sessions, SharedSessions):
        families += [_of_another(text) for text in await live.sessions.metrics_of_others(ANSWER_WITHIN)]
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(_Merged([*merged(families)])), headers={"content-type": content_type})


def families_of(text: str, labels: Mapping[str, str]) -> Iterable[Metric]:
    """Return the metrics in `text`, each with `labels` besides its own."""
    for family in text_string_to_metric_families(text):
        family.samples = [one._replace(labels={**one.labels, **labels}) for one in family.samples]
        yield family


def _of_another(text: str) -> Iterator[Metric]:
    """Yield the metrics of another service, without those of sessions: each service reports all sessions itself."""
    return (family for family in families_of(text, {}) if not family.name.startswith("affect_session_"))


def counts(families: Iterable[Metric]) -> Iterator[Metric]:
    """Yield those of `families` that never go back: a process that has ended has no gauges any more."""
    return (family for family in families if family.type in _COUNTS)


def merged(of_each: Iterable[Iterable[Metric]]) -> Iterator[Metric]:
    """Yield one metric for each name, with one sample for each name and set of labels, from those of each process."""
    found: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for families in of_each:
        for family in families:
            first = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            samples = values.setdefault(first.name, {})
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                if family.name in _FACTS:
                    samples[key] = max(samples.get(key, sample.value), sample.value)
                else:
                    samples[key] = samples.get(key, 0.0) + sample.value
    for metric in found.values():
        for (name, labels), value in values[metric.name].items():
            metric.add_sample(name, dict(labels), value)
        yield metric


@dataclass(frozen=True)
class _Merged(Collector):
    """Hold metrics for the encoder."""

    metrics: list[Metric]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self.metrics
