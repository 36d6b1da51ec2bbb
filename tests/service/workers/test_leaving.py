"""A worker program on a node whose Ray has ended: it reads on until the service in front has its sessions elsewhere."""

import asyncio
import socket

import pytest

from service.settings import load_settings
from service.workers.handle import passed_settings
from service.workers.heartbeat import is_beat
from service.workers.line import connected
from service.workers.local import Program
from service.workers.relay import LEAVING, next_message

KEY = "key"
BEATS = 8  # two a second, which is longer than the program needs to end


def test_a_program_whose_actor_has_ended_says_so_and_serves_until_its_line_is_closed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = {"settings": passed_settings(load_settings()) | {"token": KEY}, "log_level": "WARNING", "core": None}
    with socket.create_server(("127.0.0.1", 0)) as requests, socket.create_server(("127.0.0.1", 0)) as line:
        at = line.getsockname()
        files = {"requests": requests.fileno(), "line": line.fileno()}
        program = Program({**given, **files}, keep_open=tuple(files.values()))

    async def run() -> None:
        async with connected(*at, KEY) as reader:
            assert await next_message(reader) is not None  # the program has the line
            program._input.close()  # what the end of the actor does
            while await next_message(reader) != LEAVING:
                pass
            for _ in range(BEATS):
                body = await next_message(reader)
                assert body is not None
                assert is_beat(body)

    try:
        assert program.wait_ready(lambda body: None) is None
        asyncio.run(run())
        assert program.how_it_ended() == "exit code 0"
        assert "Traceback" not in capfd.readouterr().err
    finally:
        program.kill()
        program.end(10)
        program.output.close()
