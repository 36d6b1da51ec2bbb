"""`affectstream serve` as a process: stopping in the worst moments, TLS, limits of connections, what it logs."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop
from helpers.certificates import write_certificate
from helpers.redis_server import free_port
from helpers.serve_process import PATIENCE, process
from websockets.asyncio import client as asyncio_client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from engines.errors import UserError
from service.serve import SEND_BUFFER, _bind, addresses
from service.settings import load_settings
from service.web.server import bound_handshakes

TOKEN = "open sesame"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate for localhost and its key."""
    return write_certificate(tmp_path_factory.mktemp("tls"))


def test_over_tls_with_everything_that_can_hold_up_the_end(tls: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        nobody, silent = free_port(), mute.getsockname()[1]
        options = ["--host", "0.0.0.0", "--source", "desk=demo:", "--redis", f"redis://:hunter2@127.0.0.1:{nobody}/0"]
        options += ["--source", f"door=rtsp://user:hunter2@127.0.0.1:{silent}/x"]
        with process(*options, tls=tls, AFFECTSTREAM_TOKEN=TOKEN) as running, running.client() as client:
            running.wait(client)
            address = f"wss://localhost:{running.port}/v1/stream"
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            assert client.post("/login", json={"token": TOKEN}).status_code == 204
            assert {one["id"] for one in client.get("/v1/sessions").json()["sessions"]} == {"desk", "door"}
            assert client.get("/").headers["content-type"].startswith("text/html")

            # Not with the client for threads: Python may crash where one thread reads and another writes through TLS
            # at once (python/cpython#151508).
            async def read_until_the_end() -> tuple[int, str]:
                with pytest.raises(InvalidStatus):
                    await asyncio_client.connect(address, ssl=running.tls)
                async with asyncio_client.connect(address, ssl=running.tls, additional_headers=bearer) as reader:
                    assert '"session":"desk"' in str(await asyncio.wait_for(reader.recv(), PATIENCE))
                    with socket.create_connection(("127.0.0.1", running.port)):  # no handshake, ever
                        return await asyncio.to_thread(running.stop, signal.SIGTERM)

            code, log = asyncio.run(read_until_the_end())
    assert code == 0, log
    assert "ERROR" not in log  # neither a time-out at the end nor the refused WebSocket
    assert "did not let go" not in log
    assert "hunter2" not in log
    assert TOKEN not in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_takes_long_can_be_stopped_and_leaves_nothing_behind(number: int, tmp_path: Path) -> None:
    aside = tmp_path / "tmp"
    aside.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        index = f"http://127.0.0.1:{mute.getsockname()[1]}/simple"
        environment = {"AFFECTSTREAM_CACHE": str(tmp_path / "cache"), "PIP_INDEX_URL": index, "TMPDIR": str(aside)}
        with process(PIP_CONFIG_FILE=os.devnull, PIP_NO_CACHE_DIR="1", **environment) as running:
            mute.settimeout(PATIENCE)
            waiting, _ = mute.accept()  # weights are being fetched, and will be for ever
            fetching = running.children()
            code, log = running.stop(number)
            waiting.close()
    assert code == 0, log
    assert "Traceback" not in log
    assert fetching
    _, left = psutil.wait_procs(fetching, timeout=PATIENCE)
    assert not left
    assert not [path for path in aside.iterdir() if path.name.startswith("affectstream")]


HALF = [
    b"",
    b"GET /v1/sess",
    b"GET /v1/sessions/desk/preview HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b'POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"tok',
    b"POST /whip/door HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nContent-Length: 9\r\n\r\nv=0",
    b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n",
]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_stopping_with_open_streams_and_half_open_requests_is_quiet(workers: str, signals: list[int]) -> None:
    with process("--workers", workers, "--source", "desk=demo:") as running, contextlib.ExitStack() as stack:
        with running.client() as client:
            running.wait(client)
        readers = [stack.enter_context(connect(f"ws://127.0.0.1:{running.port}/v1/stream")) for _ in range(3)]
        for reader in readers:
            assert '"session":"desk"' in reader.recv(timeout=PATIENCE)
        for half in HALF:
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port))).sendall(half)
        with running.client() as client:  # answered after what was sent before it was taken
            client.get("/healthz")
        for number in signals[:-1]:
            os.kill(running.pid, number)
        code, log = running.stop(signals[-1])
    assert code == 0, log
    assert [line for line in log.splitlines() if " INFO " not in line] == []


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_a_certificate_that_is_none_gets_a_sentence(tls: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "cert.pem").write_text(text)
    (tmp_path / "key.pem").write_bytes((tls / "key.pem").read_bytes())
    from service.serve import serve

    with pytest.raises(UserError, match=r"cert\.pem.*cannot be used"):
        serve(load_settings(port=free_port(), tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"))


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_tls_handshake_that_does_not_end_is_given_up(
    tls: Path, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "cert.pem", tls / "key.pem")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        bound_handshakes(loop, 0.2)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"\x16\x03\x01")  # the beginning of a handshake
        assert await asyncio.wait_for(reader.read(), 40) == b""  # by itself it would wait for a minute
        writer.close()
        server.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("token", ["", "  "])
def test_an_empty_token_is_no_token(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTSTREAM_TOKEN", token)
    with pytest.raises(UserError, match="--token"):
        load_settings(host="0.0.0.0")
    assert load_settings().token is None


@pytest.mark.parametrize(
    ("host", "first"),
    [
        ("127.0.0.1", "http://localhost:8125"),
        ("0.0.0.0", "http://localhost:8125"),
        ("::", "http://localhost:8125"),
        ("192.168.1.5", "http://192.168.1.5:8125"),
        ("fd00::5", "http://[fd00::5]:8125"),
    ],
)
def test_the_printed_addresses_can_be_opened(host: str, first: str) -> None:
    printed = addresses("http", host, 8125)
    assert printed[0] == first
    assert not any("0.0.0.0" in address or "[::]" in address for address in printed)
    assert len(printed) == 1 or host in ("0.0.0.0", "::")


def test_a_connections_kernel_buffer_is_bounded() -> None:
    with _bind("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER  # Linux doubles it
