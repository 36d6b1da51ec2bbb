"""The line between a worker on a node and the service in front: only for those who know the key, and its end."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest
from helpers.certificates import write_certificate

from models.errors import UserError
from service.workers import line
from service.workers.line import Line, accept, connected, tls_context

VARIABLES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


def use_certificate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    for variable, file in zip(VARIABLES, ("cert.pem", "key.pem", "cert.pem"), strict=True):
        monkeypatch.setenv(variable, str(folder / file))


async def talk(size: int) -> bytes:
    """Sends `size` bytes over a line and returns what arrives."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = asyncio.ensure_future(asyncio.to_thread(accept, listener, "key"))
        lost = asyncio.Event()
        async with connected(*listener.getsockname(), "key") as reader:
            worker = Line(await accepting, lost.set)
            sent, waiting = b"x" * size, bytearray(b"x" * size)
            received = b""
            while len(received) < size:
                with contextlib.suppress(BlockingIOError):
                    del waiting[: worker.write(bytes(waiting))]
                received += await reader.read(1 << 16)
            assert received == sent
            assert not lost.is_set()
        await asyncio.wait_for(lost.wait(), 60)  # the other side has closed it
        return received


def test_bytes_arrive_and_the_end_is_noticed() -> None:
    assert len(asyncio.run(talk(100_000))) == 100_000


def test_the_same_over_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    use_certificate(monkeypatch, tmp_path)
    assert len(asyncio.run(talk(100_000))) == 100_000


def test_who_does_not_know_the_key_is_refused() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            accepting = asyncio.ensure_future(asyncio.to_thread(accept, listener, "key"))
            with pytest.raises(OSError, match="closed"):
                async with connected(*listener.getsockname(), "another key"):
                    pass
            assert not accepting.done()
            async with connected(*listener.getsockname(), "key"):  # the next one is served
                (await accepting).close()

    asyncio.run(run())


def test_without_the_cluster_s_certificate_nobody_is_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    write_certificate(tmp_path / "own")
    write_certificate(tmp_path / "other")
    use_certificate(monkeypatch, tmp_path / "own")
    ours = tls_context(server=True)
    assert ours is not None

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                connection, _ = listener.accept()
                with pytest.raises(OSError), connection:
                    ours.wrap_socket(connection, server_side=True).recv(1)

            serving = asyncio.ensure_future(asyncio.to_thread(serve))
            use_certificate(monkeypatch, tmp_path / "other")
            with pytest.raises(OSError):
                async with connected(*listener.getsockname(), "key"):
                    pass
            await serving

    asyncio.run(run())


def test_a_silent_service_in_front_loses_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "GIVE_UP_AFTER", 0.2)
    monkeypatch.setattr(line, "ALIVE_EVERY", 0.05)

    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            lost = asyncio.Event()
            Line(ours, lost.set)
            await asyncio.wait_for(lost.wait(), 60)
        ours.close()

    asyncio.run(run())


def test_certificates_that_cannot_be_used_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with pytest.raises(UserError, match="not all of"):
        tls_context(server=True)
    use_certificate(monkeypatch, tmp_path)
    with pytest.raises(UserError, match="cannot be used"):
        tls_context(server=False)
    assert os.environ["RAY_USE_TLS"] == "1"
