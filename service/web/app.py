"""The web application: its routes, what guards them, and what lives as long as it does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from affectstream import __version__
from models.errors import UserError
from service import tracing
from service.publish.sinks import check_sinks, open_sinks
from service.rules import parse_rules
from service.settings import Settings
from service.web.body_limit import BodyLimit
from service.web.cors import Preflights, ReadableAnswers
from service.web.guard import OriginGuard, TokenGuard, origin_of
from service.web.headers import SecurityHeaders
from service.web.live import Live, RuntimeFactory, SessionsFactory, SinksFactory, load, registry, start
from service.web.openapi import describe
from service.web.prefix import Prefix
from service.web.problem import answer_http_error, answer_malformed, answer_nobody, answer_user_error
from service.web.request_spans import RequestSpans
from service.web.routes import access as routes_access
from service.web.routes import data as routes_data
from service.web.routes import history as routes_history
from service.web.routes import markers as routes_markers
from service.web.routes import models as routes_models
from service.web.routes import notice as routes_notice
from service.web.routes import preview as routes_preview
from service.web.routes import report as routes_report
from service.web.routes import rules as routes_rules
from service.web.routes import service as routes_service
from service.web.routes import sessions as routes_sessions
from service.web.routes import stream as websocket
from service.web.routes import tickets as routes_tickets
from service.web.routes import whip
from service.web.routes.pages import pages
from service.web.tickets import TicketGuard, Tickets


def create_app(
    settings: Settings,
    *,
    runtime_factory: RuntimeFactory = load,
    sessions_factory: SessionsFactory = registry,
    sinks_factory: SinksFactory = open_sinks,
    routers: Sequence[APIRouter] = (),
) -> FastAPI:
    """Return the application, which opens and compiles nothing before its lifespan begins.

    Routes of `routers` take precedence over its own. `app.state` holds `settings` and, while it runs, `live`, `hub` and
    `sessions`; a start that fails with a `UserError` leaves it in `app.state.failure`. `drain(app)` ends everything
    before the server's own shutdown. Raise `UserError` for a malformed sink, rule, ICE server or allowed origin.
    """
    check_sinks(settings)
    parse_rules(settings.rule)
    if settings.ice_servers:
        from service.capture.sdp import ice_servers

        ice_servers(settings.ice_servers)  # raises now for one that is malformed

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        live = await start(settings, runtime_factory, sessions_factory, sinks_factory)
        app.state.live, app.state.hub, app.state.sessions = live, live.hub, live.sessions
        try:
            yield
        finally:
            await live.stop()

    app = FastAPI(
        title="Affectstream",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads scripts from another site
        redoc_url=None,
        # Its own spans would hold paths and queries, where session names and tickets are (`service.web.request_spans`).
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.state.settings = settings
    app.state.failure = None
    app.state.tickets = tickets = Tickets()
    app.add_exception_handler(UserError, answer_user_error)
    app.add_exception_handler(RequestValidationError, answer_malformed)
    app.add_exception_handler(ClientDisconnect, answer_nobody)
    app.add_exception_handler(HTTPException, answer_http_error)
    for router in [*routers, *_own_routers(settings)]:
        app.include_router(router)
    _guard(app, settings, tickets)
    return app


def _own_routers(settings: Settings) -> list[APIRouter]:
    """Return the routes of the application itself, in the order in which a request is matched with them."""
    modules = (
        routes_sessions,
        routes_history,
        routes_report,
        routes_markers,
        routes_data,
        routes_models,
        routes_notice,
        routes_rules,
        routes_preview,
        routes_service,
        routes_access,
        routes_tickets,
        websocket,
        whip,
    )
    return [*(module.router for module in modules), pages(settings)]


def _guard(app: FastAPI, settings: Settings, tickets: Tickets) -> None:
    """Add what every request passes before a route sees it; the last one added sees it first.

    Raise `UserError` for a malformed allowed origin or frame ancestor.
    """
    app.add_middleware(BodyLimit, limit=settings.max_request_bytes)
    app.add_middleware(TokenGuard, settings=settings)
    if settings.allowed_origins:
        app.add_middleware(Preflights, origins=settings.allowed_origins)
    app.add_middleware(OriginGuard, settings=settings)
    app.add_middleware(TicketGuard, tickets=tickets)
    app.add_middleware(SecurityHeaders, frame_ancestors=settings.frame_ancestors)
    if settings.allowed_origins:
        app.add_middleware(ReadableAnswers, origins=settings.allowed_origins)
    if tracing.is_on():
        app.add_middleware(RequestSpans)
    app.add_middleware(Prefix, root_path=settings.root_path)
    app.add_middleware(_KeepFailure, state=app.state)
    OriginGuard(app, settings)  # raises now for an allowed origin that is malformed
    for ancestor in settings.frame_ancestors:
        origin_of(ancestor, "frame ancestor")


async def drain(app: FastAPI) -> None:
    """End sessions, subscribers and sinks, in this order, within 3 s.

    A server calls it before it closes connections, so that subscribers get their last events and endless answers end.
    """
    live: Live | None = getattr(app.state, "live", None)
    if live is not None:
        await live.stop()


class _KeepFailure:
    """Keep the `UserError` of a failed start in `state.failure`, so that no traceback is logged for it."""

    def __init__(self, app: ASGIApp, state: object) -> None:
        self.app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        failures: list[Message] = []

        async def hold_back(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failures.append(message)  # its text is a traceback
            else:
                await send(message)

        try:
            await self.app(scope, receive, hold_back)
        except UserError as error:
            self._state.failure = error  # type: ignore[attr-defined]
            await send({"type": "lifespan.startup.failed", "message": ""})
        except BaseException:
            for message in failures:
                await send(message)
            raise
