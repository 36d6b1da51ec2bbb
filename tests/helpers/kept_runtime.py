"""The application with the tests' own compiled model, which outlives it."""

from typing import Any, cast

from fastapi import FastAPI

from service.runtime import Runtime
from service.settings import Settings
from service.web.app import create_app


class _Kept:
    """The runtime without its end."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def close(self) -> None:
        """Nothing to let go of: the fixture closes it."""


def real_app(runtime: Runtime, **settings: Any) -> FastAPI:
    """Sessions that really read their sources."""
    return create_app(Settings(**settings), runtime_factory=lambda _: cast(Runtime, _Kept(runtime)))
