"""What the tests of routes share."""

from collections.abc import Iterator

import httpx
import pytest
from helpers.live_server import LiveServer


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    """A client of the file's own `server`."""
    with server.client() as http:
        yield http
