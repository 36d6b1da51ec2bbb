"""`affectstream watch` against a real server: what it prints, and what it says where there is nothing to watch."""

import csv
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from helpers.affect_events import a_face, a_marker, a_note, an_alert, an_event
from helpers.live_server import LiveServer, serving
from helpers.redis_server import free_port
from helpers.repository import ROOT

from service.cli import main
from service.events import Event

EVENTS = (
    a_note(1, detail="the camera is open"),
    an_event(2, a_face(3)),
    a_marker(3, "go", 0.05),
    an_event(4, a_face(3, status="abstained", reasons=["blurred"], valence=None, expression=None)),
    an_alert(5),
)


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving() as running:
        yield running


def watched(server: LiveServer, *options: str, events: tuple[Event, ...] = EVENTS) -> int:
    """Publishes `events` to a session that `watch` sees, and closes it then."""
    while server.live.watchers:  # of the test before
        time.sleep(0.01)
    server.open("desk")

    def publish() -> None:
        while not server.live.watchers:
            time.sleep(0.01)
        for event in events:
            server.live.hub.publish(event)
        time.sleep(0.1)
        server.sessions.close("desk")

    publisher = threading.Thread(target=publish)
    publisher.start()
    code = main(["watch", server.url, "--session", "desk", *options])
    publisher.join()
    return code


def test_people_get_a_line_for_each_face_marker_and_alert(
    server: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watched(server) == 0
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "0.03 s  desk  live: the camera is open",
        "0.07 s  desk  face 3  valence +0.50  arousal     ?  happiness 0.75",
        "0.10 s  desk  marker at 0.050 s: go",
        "0.13 s  desk  face 3  valence     ?  arousal     ?    (blurred)",
        "0.17 s  desk  alert raised: frown (AU04 > 0.7 for 2 s)",
    ]


def test_json_is_every_event_whole(server: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert watched(server, "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines[: len(EVENTS)]] == [event.data for event in EVENTS]


def test_csv_has_the_columns_of_exports_after_the_session(
    server: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watched(server, "--csv") == 0
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert [(row["session"], row["frame"], row["valence"], row["marker"]) for row in rows[:2]] == [
        ("desk", "1", "0.5", ""), ("desk", "2", "", "go"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(server: LiveServer, number: int) -> None:
    desk = server.open("desk")
    desk.emit()
    command = [sys.executable, "-m", "service.cli", "watch", server.url, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["session"] == "desk"  # each line comes at once
        process.send_signal(number)
        _, err = process.communicate(timeout=180)
    server.sessions.close("desk")
    assert (process.returncode, err) == (0, b"")


def test_the_example_says_at_once_that_a_session_is_not_there(server: LiveServer) -> None:
    example = [sys.executable, str(ROOT / "docs" / "examples" / "watch.py"), "nope", server.url]
    ended = subprocess.run(example, capture_output=True, text=True, timeout=180, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "watch: no session is called 'nope'; GET /v1/sessions lists them\n"


def test_a_session_that_is_not_there_is_said_at_once(server: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", server.url, "--session", "nope"]) == 2
    assert capsys.readouterr().err == ("affectstream: no session is called 'nope'; GET /v1/sessions lists them\n")


def test_a_service_that_is_not_there_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["watch", url]) == 2
    assert f"no service answers at {url} (" in capsys.readouterr().err


def test_a_wrong_token_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(token="right-token-of-the-test") as guarded:
        assert main(["watch", guarded.url, "--token", "wrong"]) == 2
    assert "token" in capsys.readouterr().err
