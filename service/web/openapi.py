"""The API's description, generated from the routes; `make docs` writes it to docs/openapi.json."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.web.guard import COOKIE, OPEN_PATHS

_DESCRIPTION = """Watches faces, listens to voices, and streams valence, arousal, expressions and action units live.

Where the server was started with a token, every route but `/healthz` and `/login` wants it. Errors are
`{"detail": "one sentence"}`. Requests with a foreign `Host` or `Origin` are answered with 403."""

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by POST /login"},
}

# OpenAPI knows no WebSockets: described as the request that opens one.
_STREAM = {
    "get": {
        "tags": ["stream"],
        "summary": "Events over a WebSocket",
        "description": "JSON text frames of schema `affect/1` (GET /v1/schema); the last event of each session comes "
        "at once. A reader that is too slow loses its oldest events: `seq` shows it. Close codes: 1000 the session "
        "was closed, 1001 the server stops, 1008 the client said too much, 1013 too many subscribers, 4404 unknown "
        "session.",
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
        ],
        "responses": {
            "101": {"description": "Switching to a WebSocket"},
            "401": {"description": "The token is missing or wrong"},
            "403": {"description": "Not from this host or web page"},
        },
    }
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of `app`, with its ways to authorise and the WebSocket."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
        document["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
        document["paths"]["/v1/stream"] = _STREAM
        document["components"]["securitySchemes"] = _SCHEMES
        optional: list[dict[str, list[str]]] = [] if app.state.settings.token is not None else [{}]
        document["security"] = [*optional, *({name: []} for name in _SCHEMES)]
        _say_problems(document)
        for path in OPEN_PATHS:
            for operation in document["paths"].get(path, {}).values():
                operation["security"] = []
        app.openapi_schema = document
    return app.openapi_schema


def _say_problems(document: dict[str, Any]) -> None:
    """Describe malformed requests as answered with one sentence, not in FastAPI's own form."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "422" in operation["responses"]:
                schema = {"$ref": "#/components/schemas/Problem"}
                content = {"application/json": {"schema": schema}}
                operation["responses"]["422"] = {"description": "The request is malformed", "content": content}
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
