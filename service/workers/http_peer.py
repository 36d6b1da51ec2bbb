"""Requests from the service in front to whatever reads a session: a worker, or another service of the cluster."""

import contextlib
import logging
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import httpx

from models.errors import UserError
from service import tracing
from service.register import NameTaken, TooMany, Unavailable, UnknownSession

ANSWER_WITHIN = 30.0  # s, for a request: opening a camera takes as long as its driver needs

_KINDS: dict[int, type[UserError]] = {404: UnknownSession, 409: NameTaken, 429: TooMany, 503: Unavailable}

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request, and their paths hold session names


class HttpPeer:
    """Hold the clients of one program's HTTP routes; a subclass makes them."""

    leaving = False  # its node leaves the cluster: it takes no session, and those that it has are moved

    def request(self, method: str, path: str, *, within: float = ANSWER_WITHIN, **more: Any) -> Any:
        """Return the JSON of its answer. Raise `UserError` for what it refuses, `Unavailable` if it does not answer."""
        self._check_running()
        with _answering():
            answer = self._client.request(method, path, timeout=within, headers=tracing.carried(), **more)
        if answer.is_error:
            raise _refusal(answer)
        return answer.json() if answer.content else None

    async def send(
        self, method: str, path: str, *, within: float = ANSWER_WITHIN, stream: bool = False, **more: Any
    ) -> httpx.Response:
        """Return its answer to a request, whatever the status; with `stream`, before the body has come.

        Raise `Unavailable` if it does not answer within `within` seconds.
        """
        self._check_running()
        timeout = httpx.Timeout(within, read=None) if stream else within
        with _answering():
            asked = self._async_client.build_request(method, path, timeout=timeout, **more)
            asked.headers.update(tracing.carried())
            return await self._async_client.send(asked, stream=stream)

    def _check_running(self) -> None:
        """Raise `Unavailable` where it is known to have ended."""

    def _make_client(self) -> httpx.Client:
        raise NotImplementedError

    def _make_async_client(self) -> httpx.AsyncClient:
        raise NotImplementedError

    @cached_property
    def _client(self) -> httpx.Client:
        return self._make_client()

    @cached_property
    def _async_client(self) -> httpx.AsyncClient:
        return self._make_async_client()


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Raise `Unavailable` where a request inside the block gets no answer."""
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: the client was closed when the process ended
        raise Unavailable(f"the worker process does not answer ({type(error).__name__}); try again") from None
    except httpx.InvalidURL as error:
        raise UserError(f"the address cannot be passed on to a worker process ({error})") from None


def _refusal(answer: httpx.Response) -> UserError:
    """Return the error that an answer of 4xx or 5xx stands for."""
    try:
        sentence = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        sentence = f"the worker process answered {answer.status_code}; its log holds the reason"
    kind = Unavailable if answer.is_server_error else _KINDS.get(answer.status_code, UserError)
    return kind(sentence)
