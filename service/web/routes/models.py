"""The model cards that an event's `model` leads to: `GET /v1/models/{name}/card`."""

from fastapi import APIRouter, HTTPException, Request, Response

from engines import weights
from engines.errors import UserError
from service.web.card_page import as_html
from service.web.problem import problems
from service.web.routes.pages import small_page

router = APIRouter(prefix="/v1/models", tags=["service"])
_MARKDOWN = "text/markdown; charset=utf-8"


@router.head("/{name}/card", include_in_schema=False)
@router.get(
    "/{name}/card",
    summary="Model card",
    response_class=Response,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in ("text/markdown", "text/html")}},
        **problems(401, 403, 404),
    },
)
def card(name: str, request: Request) -> Response:
    """Return the card of a model or of weights: what it was trained on, how good it is, where it fails.

    `name` is one of an event's `model`: `name`, `weights` or `voice`. The card is Markdown, and a page where HTML is
    accepted.
    """
    try:
        text = weights.card(name)
    except UserError:
        raise HTTPException(404, f"no model card is called {name[:80]!r}; an event's `model` has the names") from None
    if "text/html" in request.headers.get("accept", ""):
        page = small_page("card.html", lambda page: page.replace("$card", as_html(text)))
        page.headers["vary"] = "accept"
        return page
    return Response(text, media_type=_MARKDOWN, headers={"vary": "accept"})
