"""The metrics of several processes as those of one: what is counted or measured adds up."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx
from fastapi import APIRouter, Request, Response
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import REGISTRY, Collector

from service.web.live import Running
from service.workers.handle import Worker
from service.workers.sessions import RemoteSessions

# Of these the largest is told: facts about a process, and flags.
_FACTS = ("affect_engine_info", "python_info", "process_start_time_seconds", "process_max_fds")

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request, live: Running) -> Response:
    """See `service.web.routes.service.metrics`; of the service and its workers together."""
    assert isinstance(live.sessions, RemoteSessions)
    texts = await asyncio.gather(*(_text(worker) for worker in live.sessions.fleet.workers))
    families = [REGISTRY.collect(), *(text_string_to_metric_families(text) for text in texts)]
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(_Merged([*merged(families)])), headers={"content-type": content_type})


async def _text(worker: Worker) -> str:
    try:
        return (await worker.client.get("/metrics")).text
    except httpx.HTTPError:
        return ""  # it has just ended, or is not ready yet


def merged(of_each: Iterable[Iterable[Metric]]) -> Iterator[Metric]:
    """One metric for each name, one sample for each name and set of labels."""
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
    """Metrics for the encoder."""

    metrics: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics
