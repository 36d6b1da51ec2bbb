"""The Prometheus metrics of the service (docs/metrics.md).

No label holds a session's name or id, which would be personal data and unbounded. Metrics
with names, which an operator may ask for, are in `service.web.session_metrics`.
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter has a second series

_STAGE_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.033, 0.066, 0.133, 0.5, 2.0)
_EVENT_SECONDS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.25, 0.5, 1.0, 2.0)

FRAMES = Counter("affect_frames", "Frames that left a stage", ["stage"])
FRAMES_DROPPED = Counter("affect_frames_dropped", "Frames dropped, by reason", ["reason"])
STAGE_SECONDS = Histogram("affect_stage_seconds", "Time spent in a stage", ["stage"], buckets=_STAGE_SECONDS)
EVENT_LATENCY = Histogram(
    "affect_event_latency_seconds", "From the decoded frame's entering to the hub", buckets=_EVENT_SECONDS
)
SESSIONS = Gauge("affect_sessions", "Open sessions")
WORKERS = Gauge("affect_workers", "Processes that read faces; 0 where the service reads them itself")
SESSIONS_MOVED = Counter("affect_sessions_moved", "Sessions opened anew in another worker than the one they had")
LEASES_LOST = Counter("affect_leases_lost", "Sessions ended because another worker had their lease")
FACES = Gauge("affect_faces", "Faces in view, over all sessions")
SUBSCRIBERS = Gauge("affect_subscribers", "Subscribers now", ["sink"])
EVENTS_DROPPED = Counter("affect_events_dropped", "Events that a slow sink lost", ["sink"])
PUBLISH_ERRORS = Counter("affect_publish_errors", "Failed attempts to publish", ["sink"])
SINK_PROBLEM = Gauge(
    "affect_sink_problem", "Above 0 while a sink takes no events, or not all, by reason", ["sink", "reason"]
)
CLOCK_CORRECTIONS = Counter(
    "affect_clock_corrections", "Time stamps out of line that were not believed, and new timelines that were", ["kind"]
)
CLOCK_SLEWED = Counter("affect_clock_slewed_seconds", "Seconds by which clocks were moved to follow arrival")
RECONNECTS = Counter("affect_reconnects", "Reconnections", ["kind"])  # source, redis
ABSTENTIONS = Counter("affect_abstentions", "Faces not estimated, by reason", ["reason"])
BATCH_SIZE = Histogram("affect_batch_size", "Faces per engine call", buckets=(1, 2, 4, 8, 16, 32, 64))
QUEUE = Gauge("affect_queue_requests", "Requests that wait for an engine; the stage queue says how long")
SKIPPED = Counter("affect_requests_skipped", "Requests never run: a newer one came, or it was too late", ["reason"])
PREDICTIONS = Counter("affect_predictions", "Faces that a model has read", ["model"])
ENGINE_FAILURES = Counter("affect_engine_failures", "Engine calls that raised, gave NaN or hung", ["model", "reason"])
ENGINE_INFO = Gauge(
    "affect_engine_info",
    "1 for an engine that runs, 0 for one that was given up",
    ["model", "weights", "engine", "precision"],
)
# Of a whole pool (`service.pool`), as its supervisor last reported; every process of every service shows the same.
POOL_REPLICAS = Gauge("affect_pool_replicas", "Replicas of a pool that answer", ["model"])
POOL_QUEUE = Gauge("affect_pool_queue_requests", "Requests that wait on the replicas of a pool", ["model"])
POOL_WAIT = Gauge("affect_pool_wait_seconds", "Mean time of a request until the engine call, lately", ["model"])
POOL_BATCH = Gauge("affect_pool_batch_faces", "Mean faces per engine call of a pool, lately", ["model"])
POOL_BUSY = Gauge("affect_pool_busy_ratio", "Mean part of the time that replicas spend in engine calls", ["model"])
POOL_LATE = Counter("affect_pool_late", "Requests that a pool dropped before they were computed", ["model"])

# These series exist from the start, at zero: a rate over a series that appears with its first fault misses that fault.
for _sink in ("websocket", "preview", "redis"):
    SUBSCRIBERS.labels(_sink)
for _sink in ("websocket", "redis"):
    EVENTS_DROPPED.labels(_sink)
for _kind in ("source", "redis"):
    RECONNECTS.labels(_kind)
for _kind in ("outlier", "timeline"):
    CLOCK_CORRECTIONS.labels(_kind)
for _reason in ("newer", "late"):
    SKIPPED.labels(_reason)
PUBLISH_ERRORS.labels("redis")
