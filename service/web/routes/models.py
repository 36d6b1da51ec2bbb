"""The model cards that an event's `model` leads to: `GET /v1/models/{name}/card`."""

from fastapi import APIRouter, HTTPException, Response

from engines import weights
from engines.errors import UserError
from service.web.problem import problems

router = APIRouter(prefix="/v1/models", tags=["service"])
_MARKDOWN = "text/markdown; charset=utf-8"


@router.head("/{name}/card", include_in_schema=False)
@router.get(
    "/{name}/card",
    summary="Model card",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}, **problems(401, 403, 404)},
)
def card(name: str) -> Response:
    """Return the card of a model or of weights as Markdown: what it was trained on, how good it is, where it fails.

    `name` is one of an event's `model`: `name`, `weights` or `voice`.
    """
    try:
        return Response(weights.card(name), media_type=_MARKDOWN)
    except UserError:
        raise HTTPException(404, f"no model card is called {name[:80]!r}; an event's `model` has the names") from None
