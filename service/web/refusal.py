"""A refusal with one sentence, of a request or of a WebSocket that is not open yet."""

from starlette.types import Receive, Scope, Send

from service.web.problem_details import MEDIA_TYPE, encoded


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    sentence: str,
    headers: dict[str, str] | None = None,
    kind: type[Exception] | None = None,
) -> None:
    """Answer with problem details of `status` and `sentence`, also to a request that would open a WebSocket.

    `kind` gives the code (`service.web.problem_details`).
    """
    body = encoded(status, sentence, kind)
    lines = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in lines.items()]
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": sentence})
            return
        prefix = "websocket.http.response"
    else:
        prefix = "http.response"
    await send({"type": f"{prefix}.start", "status": status, "headers": raw})
    await send({"type": f"{prefix}.body", "body": body})
