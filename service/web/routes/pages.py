"""Routes that people open in a browser: the dashboard, or a small page where it was not built, and the login."""

import base64
import hashlib
import re
from collections.abc import Callable
from html import escape
from math import ceil
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from models.errors import UserError
from service.settings import Settings
from service.web.guard import COOKIE, Holders, client_of, too_many_tries
from service.web.headers import content_policy
from service.web.prefix import route_path
from service.web.problem import Problem, answer_problem, problems
from service.web.strict_json import parse
from service.web.tries import Tries

_PAGES = Path(__file__).resolve().parents[2] / "dashboard"
_FORM = "application/x-www-form-urlencoded"
_AS_PAGE = {"content": {"text/html": {"schema": {"type": "string"}}}}
_LOGIN_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}}
            for kind in ("application/json", _FORM)
        },
    }
}


def pages(settings: Settings, dist: Path = _PAGES / "dist") -> APIRouter:
    """Return the routes of the pages; `dist` is the folder of the built dashboard, served where it exists."""
    router = APIRouter(tags=["pages"])
    _add_dashboard(router, dist)
    _add_login(router, settings)
    _add_logout(router)
    if (dist / "index.html").is_file():
        _serve_files(router, dist)
    return router


def _add_dashboard(router: APIRouter, dist: Path) -> None:
    """Add the dashboard and the description of the API, which lie in `dist` where they were built."""
    built = dist / "index.html"

    @router.head("/", include_in_schema=False)
    @router.get("/", summary="Dashboard", response_class=HTMLResponse, responses=problems(401, 403))
    async def index() -> Response:
        """Show the dashboard, or a small page with live figures where it was not built."""
        return FileResponse(built, media_type="text/html") if built.is_file() else small_page("live.html")

    @router.head("/docs", include_in_schema=False)
    @router.get(
        "/docs",
        summary="This description as a page",
        response_class=HTMLResponse,
        responses=problems(401, 403) | {404: {"model": Problem, "description": "The page was not built"}},
    )
    async def api_page() -> Response:
        """Show the API's description to read and to try; it loads nothing from another host."""
        page = dist / "docs.html"
        if not page.is_file():
            raise HTTPException(404, "this page was not built; run `make dashboard`, or read /openapi.json")
        return FileResponse(page, media_type="text/html")


def _add_login(router: APIRouter, settings: Settings) -> None:
    """Add the login page, and the exchange of a token for a cookie."""
    holders, tries = Holders(settings), Tries(settings.max_logins_per_minute)

    @router.head("/login", include_in_schema=False)
    @router.get(
        "/login",
        summary="Login page",
        response_class=HTMLResponse,
        responses={303: {"description": "No token is needed: to the dashboard"}, **problems(403)},
    )
    async def login_page(request: Request) -> Response:
        """Show a form for the token, or lead to the dashboard where none is needed."""
        return small_page("login.html") if holders else RedirectResponse(_home(request), 303)

    @router.post(
        "/login",
        status_code=204,
        summary="Token in, cookie out",
        response_class=Response,
        responses={
            303: {"description": "A form was posted: back to the dashboard"},
            **problems(400, 401, 403, 413, 429),
            **{status: problem | _AS_PAGE for status, problem in problems(401, 429).items()},  # after a form
        },
        openapi_extra=_LOGIN_BODY,
    )
    async def login(request: Request) -> Response:
        """Set an HttpOnly, SameSite=Strict cookie that browsers then send instead of the token.

        An address that sends too many wrong tokens within a minute is answered 429.
        """
        form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
        given = _token(await request.body(), form)
        client = client_of(request.scope)
        if holders and (wait := tries.wait(client)):
            refused, later = too_many_tries(wait), {"retry-after": str(ceil(wait))}
            return _refused(refused, 429, later) if form else answer_problem(429, refused, headers=later)
        holder = holders.find([given])
        if holders and holder is None:
            tries.wrong(client)
            refused = "the token is wrong; ask whoever runs this service for the right one"
            return _refused(refused, 401) if form else answer_problem(401, refused)
        answer = RedirectResponse(_home(request), 303) if form else Response(status_code=204)
        if holder is not None:
            secure = request.url.scheme == "https"
            answer.set_cookie(COOKIE, holder.key, httponly=True, samesite="strict", secure=secure)
        return answer


def _add_logout(router: APIRouter) -> None:
    """Add the route that clears the cookie."""

    @router.post(
        "/logout",
        status_code=204,
        summary="Forget the cookie",
        response_class=Response,
        responses=problems(401, 403),
    )
    async def logout() -> Response:
        """Clear the cookie that `POST /login` set; the browser then needs the token again."""
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


def _serve_files(router: APIRouter, dist: Path) -> None:
    """Serve the dashboard's files: `assets/`, named after their contents, and those beside the page."""
    folder = StaticFiles(directory=dist, follow_symlink=False)

    async def asset(request: Request) -> Response:
        path = route_path(request.scope)
        response = await folder.get_response(path.lstrip("/"), request.scope)
        if path.startswith("/assets/"):
            response.headers["cache-control"] = "private, max-age=31536000, immutable"
        return response

    beside = [f"/{path.name}" for path in dist.iterdir() if path.is_file() and path.suffix != ".html"]
    for path in ["/assets/{file:path}", *beside]:
        router.add_api_route(path, asset, methods=["GET", "HEAD"], include_in_schema=False, response_class=FileResponse)


def small_page(name: str, fill: Callable[[str], str] = str, status: int = 200) -> HTMLResponse:
    """Return a small page, its text `fill`ed; the browser is given the hashes of its script and style."""
    text = (_PAGES / name).read_text("utf-8")
    policy = content_policy(script_src=_hashes(text, "script"), style_src=_hashes(text, "style"))
    return HTMLResponse(fill(text), status, {"content-security-policy": policy})


def _home(request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/"


def _refused(sentence: str, status: int, headers: dict[str, str] | None = None) -> HTMLResponse:
    """Return the login page with why the login was refused."""
    page = small_page("login.html", status=status)
    said = f'<p id="refused" role="alert">{escape(sentence[:1].upper() + sentence[1:])}.</p>'
    text = bytes(page.body).decode().replace('<p id="refused" hidden></p>', said)
    return HTMLResponse(
        text, status, {"content-security-policy": page.headers["content-security-policy"], **(headers or {})}
    )


def _hashes(text: str, tag: str) -> str:
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


def _token(body: bytes, form: bool) -> str:
    """Return the token of a posted form or JSON object. Raise `UserError` where there is none."""
    try:
        value = parse_qs(body.decode(), keep_blank_values=True)["token"][0] if form else parse(body)["token"]
    except (ValueError, KeyError, TypeError, RecursionError):
        value = None
    if not isinstance(value, str):
        raise UserError('the body holds no token; send {"token": "..."}')
    return value
