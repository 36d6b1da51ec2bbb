"""What people open in a browser: the dashboard, or a small page of live figures where it was not built; the login."""

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from engines.errors import UserError
from service.settings import Settings
from service.web.guard import COOKIE, cookie_for, same
from service.web.headers import content_policy
from service.web.problem import problems

_PAGES = Path(__file__).resolve().parents[2] / "dashboard"
_FORM = "application/x-www-form-urlencoded"
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
    """Routes of the pages. `dist`: the built dashboard, served where it is there."""
    router = APIRouter(tags=["pages"])
    token = settings.token.get_secret_value() if settings.token is not None else None
    built = dist / "index.html"

    @router.get("/", summary="Dashboard", response_class=HTMLResponse, responses=problems(401, 403))
    async def index() -> Response:
        """The dashboard; a small page with live figures where it was not built."""
        return FileResponse(built, media_type="text/html") if built.is_file() else _page("live.html")

    @router.get("/login", summary="Login page", response_class=HTMLResponse, responses=problems(403))
    async def login_page() -> Response:
        """A form for the token; leads to the dashboard where none is needed."""
        return _page("login.html") if token is not None else RedirectResponse("/", 303)

    @router.post(
        "/login",
        status_code=204,
        summary="Token in, cookie out",
        response_class=Response,
        responses={303: {"description": "A form was posted: back to the dashboard"}, **problems(400, 401, 403, 413)},
        openapi_extra=_LOGIN_BODY,
    )
    async def login(request: Request) -> Response:
        """Sets an HttpOnly, SameSite=Strict cookie that browsers then send instead of the token."""
        form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
        given = _token(await request.body(), form)
        if token is not None and not same(given, token):
            refused = "the token is wrong; it is the one that the server was started with"
            return _page("login.html", 401) if form else JSONResponse({"detail": refused}, 401)
        answer = RedirectResponse("/", 303) if form else Response(status_code=204)
        if token is not None:
            secure = request.url.scheme == "https"
            answer.set_cookie(COOKIE, cookie_for(token), httponly=True, samesite="strict", secure=secure)
        return answer

    if built.is_file():
        _serve_files(router, dist)
    return router


def _serve_files(router: APIRouter, dist: Path) -> None:
    """The dashboard's own files: `assets/`, whose names change with what is in them, and what lies beside the page."""
    folder = StaticFiles(directory=dist, follow_symlink=False)

    async def asset(request: Request) -> Response:
        response = await folder.get_response(request.url.path.lstrip("/"), request.scope)
        if request.url.path.startswith("/assets/"):
            response.headers["cache-control"] = "private, max-age=31536000, immutable"
        return response

    beside = [f"/{path.name}" for path in dist.iterdir() if path.is_file() and path.name != "index.html"]
    for path in ["/assets/{file:path}", *beside]:
        router.add_api_route(path, asset, include_in_schema=False, response_class=FileResponse)


def _page(name: str, status: int = 200) -> HTMLResponse:
    """A page of ours whose only script and style are its own, named to the browser by their hashes."""
    text = (_PAGES / name).read_text("utf-8")
    policy = content_policy(script_src=_hashes(text, "script"), style_src=_hashes(text, "style"))
    return HTMLResponse(text, status, {"content-security-policy": policy})


def _hashes(text: str, tag: str) -> str:
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


def _token(body: bytes, form: bool) -> str:
    """The token of a posted form or JSON object. Raises `UserError`."""
    try:
        value = parse_qs(body.decode()).get("token", [""])[0] if form else json.loads(body)["token"]
    except (ValueError, KeyError, TypeError):
        value = None
    if not isinstance(value, str):
        raise UserError('the body holds no token; send {"token": "..."}')
    return value
