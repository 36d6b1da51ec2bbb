"""The log as JSON: one object a line, from the service and its workers, without secrets."""

import json
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from io import StringIO

import pytest
from helpers.serve_process import process

from service import audit, logs
from service.cli import main
from service.settings import load_settings
from service.workers.handle import passed_settings


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What is written while the log is JSON; afterwards everything is as before."""
    root, stream = logging.getLogger(), StringIO()
    before, level, hooks = root.handlers, root.level, (sys.excepthook, threading.excepthook)
    root.handlers = []
    logs.set_up("INFO", stream, "json")
    yield stream
    root.handlers = before
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


def entries(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_entry_is_one_object_on_one_line(written: StringIO) -> None:
    log = logging.getLogger("service.x")
    log.info("two\nlines of %s", "text")
    token = logs.SESSION.set("desk")
    log.warning("ü is no escape")
    logs.SESSION.reset(token)
    first, second = entries(written.getvalue())
    assert first["time"].endswith("Z")
    del first["time"], second["time"]
    assert first == {"level": "INFO", "logger": "service.x", "message": "two\nlines of text"}
    assert second == {"level": "WARNING", "logger": "service.x", "message": "ü is no escape", "session": "desk"}
    assert "ü" in written.getvalue()


def test_the_audit_trail_does_not_name_the_session_beside_its_pseudonym(written: StringIO) -> None:
    token = logs.SESSION.set("ann")
    audit.write("stop", "ann", seconds=1.0)
    logs.SESSION.reset(token)
    (entry,) = entries(written.getvalue())
    assert audit.pseudonym("ann") in entry["message"]
    assert "ann" not in written.getvalue()


def test_what_threads_and_libraries_say_is_an_entry_too(written: StringIO) -> None:
    def fail() -> None:
        raise ValueError("rtsp://ann:hunter2@camera/1 is away")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    try:
        fail()
    except ValueError:
        logging.getLogger("x").exception("it failed at redis://:hunter2@cache:6379/0")
    raised, warned, failed = entries(written.getvalue())
    assert "ValueError" in raised["exception"]
    assert "DeprecationWarning: old" in warned["message"]
    assert failed["message"] == "it failed at redis://***@cache:6379/0"
    assert "hunter2" not in written.getvalue()


def test_workers_write_as_the_service_does() -> None:
    assert passed_settings(load_settings(log_format="json"))["log_format"] == "json"


def test_a_refusal_is_an_entry_too(written: StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--log-format", "json", "--source", "gopher://x", "--port", "0", "--workers", "1"]) == 2
    assert capsys.readouterr().err == ""
    assert entries(written.getvalue())[-1]["level"] == "ERROR"


def test_every_line_of_a_service_with_workers_is_an_object() -> None:
    options = ("--log-format", "json", "--workers", "2", "--source", "desk=demo:")
    with process(*options, AFFECTSTREAM_SERVICE_HOST="x") as running:
        with running.client() as client:
            running.wait(client)
            assert client.get("/v1/sessions").json()["sessions"][0]["id"] == "desk"
            client.delete("/v1/sessions/desk")
        code, output = running.stop(signal.SIGTERM)
    assert code == 0, output
    said = entries(output)
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(entry) for entry in said))
    assert any(entry["message"].startswith("Affectstream is at ") for entry in said)
    assert any(entry.get("session") == "desk" for entry in said), output
