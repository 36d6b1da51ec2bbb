"""Routes about the service itself, for machines: liveness, readiness, metrics, models, schema."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, Field

from service.events import event_schema
from service.loaded_model import commercial
from service.session_options import available
from service.web.live import Running
from service.web.problem import problems
from service.web.session_metrics import SessionMetrics

router = APIRouter(tags=["service"])


class _SchemaAnswer(JSONResponse):
    media_type = "application/schema+json"


class Alive(BaseModel):
    """Say whether the process can do its work, and if not, why."""

    status: Literal["alive", "failing"] = "alive"
    reasons: list[str] | None = None


class Readiness(BaseModel):
    """Say whether events are made and delivered, and if not, why."""

    ready: bool
    reasons: list[str] = Field(examples=[["redis://localhost:6379/0 does not answer; 12 events wait, 0 were lost"]])


class Model(BaseModel):
    """Describe a loaded model and the engine that runs it."""

    name: str
    weights: str
    engine: str
    precision: str
    trained: bool = Field(description="False: its numbers mean nothing")
    commercial: bool = Field(description="Whether the licences of its weights are known to allow commercial use")


class ModelList(BaseModel):
    """List the models in memory, the server's own first, and the licences of all their weights."""

    models: list[Model]
    licences: list[str]
    available: list[str] = Field(description="What a session may choose as its `model`; the server's own is first")


@router.head("/healthz", include_in_schema=False)
@router.get(
    "/healthz", summary="Liveness", responses={**problems(403), 503: {"model": Alive}}, response_model_exclude_none=True
)
async def healthz(live: Running, response: Response) -> Alive:
    """Answer 200 while faces can be read, else 503; needs no token."""
    if live.runtime.alive:
        return Alive()
    response.status_code = 503
    return Alive(status="failing", reasons=live.runtime.problems() or ["no face can be read now"])


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Readiness", responses={**problems(401, 403), 503: {"model": Readiness}})
def readyz(live: Running, response: Response) -> Readiness:
    """Answer 200 once the engine is compiled and every sink is reachable, else 503 with the reasons."""
    reasons = live.problems()
    response.status_code = 503 if reasons else 200
    return Readiness(ready=not reasons, reasons=reasons)


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(401, 403)},
)
def metrics(request: Request, live: Running) -> Response:
    """Return the metrics in the text format that the scraper asks for."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(SessionMetrics(live)), headers={"content-type": content_type})


@router.head("/v1/models", include_in_schema=False)
@router.get("/v1/models", summary="Loaded models", responses=problems(401, 403, 503))
def models(live: Running) -> ModelList:
    """Return the models that read the faces, their engines, and the licences of the weights.

    The server's own is first; after it come those in memory that sessions asked for.
    """
    beside = live.sessions.models_beside()
    infos: list[Mapping[str, Any]] = []
    for info in (live.runtime.info, *(one.info for one in beside)):
        if info not in infos:  # several workers have the same one
            infos.append(info)
    licences = [line for lines in (live.runtime.licences(), *(one.licences for one in beside)) for line in lines]
    return ModelList(
        models=[Model.model_validate({"commercial": commercial(info), **info}) for info in infos],
        licences=list(dict.fromkeys(licences)),
        available=list(available(live.settings)),
    )


@router.head("/v1/schema", include_in_schema=False)
@router.get(
    "/v1/schema",
    summary="Schema of the event",
    response_class=_SchemaAnswer,
    responses={200: {"content": {"application/schema+json": {"schema": {"type": "object"}}}}, **problems(401, 403)},
)
async def schema() -> JSONResponse:
    """Return the JSON Schema (draft 2020-12) of what the stream, Redis and `analyze` give."""
    document: dict[str, Any] = event_schema()
    return _SchemaAnswer(document)
