"""The status of a pool as metrics (docs/metrics.md)."""

from service import metrics
from service.pool.messages import PoolStatus

_GAUGES = {
    "replicas": metrics.POOL_REPLICAS,
    "waiting": metrics.POOL_QUEUE,
    "wait": metrics.POOL_WAIT,
    "batch": metrics.POOL_BATCH,
    "busy": metrics.POOL_BUSY,
}


def show(model: str, before: PoolStatus, now: PoolStatus) -> None:
    """Set the gauges of the pool of `model` to what its supervisor says, and count what was dropped since `before`."""
    for field, gauge in _GAUGES.items():
        gauge.labels(model).set(getattr(now.load, field))
    metrics.POOL_LATE.labels(model).inc(max(0, now.late - before.late))


def forget(model: str) -> None:
    """Show the gauges of the pool of `model` no more."""
    for gauge in _GAUGES.values():
        gauge.remove(model)
