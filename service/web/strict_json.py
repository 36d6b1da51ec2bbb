"""JSON of requests, read by RFC 8259 to the letter: what two readers may understand in two ways is refused."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from models.errors import UserError

_SHOWN = 40  # characters of a key that are shown


def parse(body: bytes) -> Any:
    """Return what the JSON text `body` holds; a byte order mark of UTF-8 before it is ignored, as section 8.1 allows.

    Raises `UserError` for other encodings than UTF-8, a key that an object has twice, half characters, and numbers that
    JSON does not have (NaN, Infinity); `json.JSONDecodeError` for what is no JSON, `RecursionError` for hundreds of
    nested brackets.
    """
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
        raise UserError(f"the body is encoded as {name}; JSON is sent as UTF-8 (RFC 8259)")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"the body is not UTF-8 text (byte {error.start}); JSON is sent as UTF-8 (RFC 8259)") from None
    found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    if "\\ud" in text.lower():  # an escape of half a character, or of a whole one in two halves
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UserError("the body holds half of a character (a lone surrogate); send whole ones") from None
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise UserError(f"the body holds {name}, which is no number of JSON; leave the value out, or send null")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UserError(f"the body has the key {key[:_SHOWN]!r} twice in one object; leave one out")
        found[key] = value
    return found


class _StrictRequest(Request):
    """Read the body by `parse`."""

    async def json(self) -> Any:
        """Return the body's content. Raises `HTTPException` (400) with a sentence for what `parse` refuses."""
        try:
            return parse(await self.body())
        except UserError as error:
            raise HTTPException(400, str(error)) from None
        except RecursionError:
            raise HTTPException(400, "the body nests its brackets too deeply") from None


class StrictJsonRoute(APIRoute):
    """Give a route its JSON body by `parse`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, called with a request that reads its body strictly."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly
