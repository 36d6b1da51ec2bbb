"""Traces by OpenTelemetry, where its own variables ask for them: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_EXPORTER`.

Nothing of it is imported otherwise. No span holds an address, a session's name or a secret.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from affectstream import __version__

NAME = "affectstream"
LAST_SPANS = 1.0  # s that they may take to be sent when the service ends; the exporter itself would wait for longer

_ASKED_BY = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}  # names of exporters that are installed

_provider: Any = None

log = logging.getLogger(__name__)


def set_up() -> None:
    """Send traces from now on if the environment asks for them; log why not where a package or exporter is missing."""
    global _provider
    asked = next((name for name in _ASKED_BY if os.environ.get(name, "").strip()), None)
    exporters = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if asked is None or exporters == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        import opentelemetry.instrumentation.asgi  # noqa: F401 # missing now is better than missing later
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s asks for traces; for that run: pip install 'affectstream[otel]'", asked)
        return
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):  # OTEL_SERVICE_NAME is not set
        resource = resource.merge(Resource({"service.name": NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters.split(","):
        name = _installed_name(exporter.strip())
        found = [*entry_points(group="opentelemetry_traces_exporter", name=name)]
        if not found:
            log.warning(
                "there is no exporter %s of traces here; install its package, or set OTEL_TRACES_EXPORTER", name
            )
            continue
        provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
        log.info("traces are sent by the exporter %s", name)
    _provider = provider


def _installed_name(exporter: str) -> str:
    if exporter != "otlp":
        return exporter
    protocol = next((text for name in _PROTOCOLS if (text := os.environ.get(name, "").strip())), "http/protobuf")
    return _OTLP.get(protocol, f"otlp over {protocol}")


def is_on() -> bool:
    """Return whether traces are sent."""
    return _provider is not None


def provider() -> Any:
    """Return OpenTelemetry's provider of tracers, None where no traces are sent."""
    return _provider


def end() -> None:
    """Send the last spans, within a second, and no more from now on."""
    global _provider
    ended, _provider = _provider, None
    if ended is not None:
        sending = threading.Thread(target=ended.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(LAST_SPANS)


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """Trace the block as a span; of an error that ends it only the class is sent, as its text may quote addresses.

    Args:
        name: What is done, in words.
        attributes: Facts without an address, a name or a secret.
    """
    if _provider is None:
        yield
        return
    tracer = _provider.get_tracer(NAME, __version__)
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except Exception as error:
            mark_failed(current, error)
            raise


def current() -> Any:
    """Return this thread's trace, to give to `past` in another thread; None where no traces are sent."""
    if _provider is None:
        return None
    from opentelemetry.context import get_current

    return get_current()


def past(name: str, begun: float, ended: float, trace: Any, **attributes: str | int) -> None:
    """Trace what lasted from `begun` to `ended` (seconds of `time.time`) as a span of `trace`, which `current` gave."""
    if _provider is not None:
        tracer = _provider.get_tracer(NAME, __version__)
        done = tracer.start_span(name, context=trace, start_time=int(begun * 1e9), attributes=attributes)
        done.end(end_time=int(ended * 1e9))


def carried() -> dict[str, str]:
    """Return the headers that carry this thread's trace to another process; none where no traces are sent."""
    headers: dict[str, str] = {}
    if _provider is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
    return headers


@contextmanager
def continued(headers: Mapping[str, str]) -> Iterator[None]:
    """Make the spans of the block a part of the trace that `headers` name."""
    if _provider is None:
        yield
        return
    from opentelemetry.context import attach, detach
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = attach(TraceContextTextMapPropagator().extract(headers))
    try:
        yield
    finally:
        detach(token)


def mark_failed(current: Any, error: BaseException) -> None:
    """Mark a span as failed by the class of `error`."""
    from opentelemetry.trace import StatusCode

    current.set_attribute("error.type", type(error).__name__)
    current.set_status(StatusCode.ERROR)
