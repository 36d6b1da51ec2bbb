"""The API's description, generated from the routes; `make docs` writes it to docs/openapi.json."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.events import event_schema
from service.web.access import need_of
from service.web.guard import COOKIE, OPEN_PATHS
from service.web.problem import problems
from service.web.problem_details import MEDIA_TYPE

_DESCRIPTION = """Watches faces, listens to voices, and streams valence, arousal, expressions and action units live.

Where the server was started with a token, every route but `/client.js`, `/healthz`, `/login` and `/notice` wants one. A
token has a role: `view` reads, `send` also streams in by WHIP and changes the sessions that it opened, `manage` does
everything; what a token's role does not allow is answered with 403 and the code `role_needed`. Errors are problem
details (RFC 9457) with a `code` for programs and one sentence as `detail`. Requests with a foreign `Host` or `Origin`
are answered with 403."""

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by POST /login"},
}

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_REFUSALS = {
    str(status): {"description": problem["description"], "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
    for status, problem in problems(401, 403, 429).items()
}
_EVENT: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/AffectEvent"}}

# OpenAPI knows no WebSockets: described as the request that opens one, and a message as the answer's content.
_STREAM = {
    "get": {
        "tags": ["stream"],
        "summary": "Events over a WebSocket",
        "description": "JSON text frames of schema `affect/1` (GET /v1/schema); the last event of each session comes "
        "at once. A reader that is too slow loses its oldest events: `seq` shows it. Close codes: 1000 the session "
        "was closed, 1001 the server stops, 1008 the client sent too many messages, 1013 too many subscribers, "
        "4404 unknown session.",
        "operationId": "stream_v1_stream_get",
        "parameters": [
            {
                "name": "session",
                "in": "query",
                "required": False,
                "description": "Events of this session only",
                "schema": {"type": "string"},
            },
            {
                "name": "landmarks",
                "in": "query",
                "required": False,
                "description": "1 adds each face's 68 points, in pixels",
                "schema": {"type": "boolean", "default": False},
            },
            {
                "name": "ticket",
                "in": "query",
                "required": False,
                "description": "In place of the token: one from POST /v1/tickets, which is used up",
                "schema": {"type": "string"},
            },
        ],
        "responses": {
            "101": {
                "description": "Switching to a WebSocket; each of its messages is an event",
                "content": {"application/json": _EVENT},
            },
            **_REFUSALS,
        },
    }
}


_ALERT = {
    "post": {
        "tags": ["stream"],
        "summary": "An alert, to the addresses of `--webhook`",
        "description": "The event of an alert, signed as Standard Webhooks 1.0 asks where the server has a key "
        "(`--webhook-secret`), and sent again where it is not answered with a status below 300.",
        "operationId": "alert_webhook",
        "requestBody": {"required": True, "content": {"application/json": _EVENT}},
        "responses": {"2XX": {"description": "Received"}},
    }
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of `app`, with its ways to authorise and the WebSocket."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
        document["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
        document["paths"]["/v1/stream"] = _STREAM
        document["webhooks"] = {"alert": _ALERT}
        document["components"]["schemas"] |= _event_components()
        document["components"]["securitySchemes"] = _SCHEMES
        _say_problems(document)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                operation["security"] = _security(path, method, bool(app.state.settings.roles()))
        app.openapi_schema = document
    return app.openapi_schema


def _security(path: str, method: str, guarded: bool) -> list[dict[str, list[str]]]:
    """Return what an operation asks for: the role of the token, by each way to send it, or nothing."""
    if path in OPEN_PATHS:
        return []
    need, _ = need_of(method.upper(), path)
    roles = [need.role.label, *(["send, for the sessions that it opened"] if need.own else [])]
    return [*([] if guarded else [{}]), *({name: roles} for name in _SCHEMES)]


def _event_components() -> dict[str, Any]:
    """Return the event's schema and those that it refers to, as OpenAPI has them: beside each other, by name."""
    text = json.dumps(event_schema()).replace('"#/$defs/', '"#/components/schemas/')
    schema: dict[str, Any] = json.loads(text)
    parts: dict[str, Any] = schema.pop("$defs")
    event = {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
    return {**parts, "AffectEvent": event}


def _say_problems(document: dict[str, Any]) -> None:
    """Describe all error answers as problem details, malformed requests among them, not in FastAPI's own form."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "422" in operation["responses"]:
                operation["responses"]["422"] = {"description": "The request is malformed"}
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                if status == "422" or _PROBLEM in [one.get("schema") for one in content.values()]:
                    pages = {kind: one for kind, one in content.items() if kind == "text/html"}
                    response["content"] = {MEDIA_TYPE: {"schema": _PROBLEM}, **pages}
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
