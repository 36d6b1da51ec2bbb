"""A span for each request and WebSocket, by OpenTelemetry's ASGI instrumentation, which sees no address and no name.

It records what a scope holds. It therefore gets a scope with the route in place of the path, and with no headers but
those that name the caller's trace. The application behind it gets the real scope.
"""

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from service import tracing
from service.web.access import route_of
from service.web.connections import HEALTH_PATHS
from service.web.prefix import route_path

_TRACE_HEADERS = (b"traceparent", b"tracestate")


class RequestSpans:
    """Trace requests, health checks excepted."""

    def __init__(self, app: ASGIApp) -> None:
        """Trace requests of `app`. Traces are on (`service.tracing.is_on`)."""
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        self.app = app
        self._traced = OpenTelemetryMiddleware(
            _pass_on,
            default_span_details=_details,
            tracer_provider=tracing.provider(),
            exclude_spans=["receive", "send"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, within a span."""
        if scope["type"] not in ("http", "websocket") or route_path(scope) in HEALTH_PATHS:
            await self.app(scope, receive, send)
            return
        failures: list[BaseException] = []

        async def run(receive: Receive, send: Send) -> None:
            from opentelemetry.trace import get_current_span

            try:
                await self.app(scope, receive, send)
            except BaseException as error:  # the instrumentation would record its words
                tracing.mark_failed(get_current_span(), error)
                failures.append(error)

        shown = {
            "type": scope["type"],
            "scheme": scope["scheme"],
            "http_version": scope.get("http_version", ""),
            "path": route_of(route_path(scope)),
            "server": (tracing.NAME, 80),  # a name, because the host is an address
            "headers": [(name, value) for name, value in scope["headers"] if name in _TRACE_HEADERS],
            _RUN: run,
        }
        if scope["type"] == "http":
            shown["method"] = scope["method"]
        await self._traced(shown, receive, send)
        if failures:
            raise failures[0]


_RUN = "affectstream.run"


async def _pass_on(scope: Scope, receive: Receive, send: Send) -> None:
    await scope[_RUN](receive, send)


def _details(scope: Scope) -> tuple[str, dict[str, Any]]:
    """Return the name of a request's span and its attributes."""
    method = scope.get("method", "WEBSOCKET")
    return f"{method} {scope['path']}", {"http.route": scope["path"]}
