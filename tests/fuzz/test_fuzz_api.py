"""The API does what docs/openapi.json says, for requests that Schemathesis makes from it, and never answers 5xx."""

import os
import subprocess
import sys

import httpx
import pytest
from helpers.fuzz import cases
from helpers.live_server import serving
from helpers.repository import ROOT
from helpers.serve_process import process
from helpers.whip import whip_app

CASES = 2  # of an operation; besides those that cover each part of the schema once
CONFIG = ROOT / "tests" / "fuzz" / "schemathesis.toml"
TOKEN = "fuzzed-token-1"


def fuzz(url: str, *options: str) -> None:
    """Fails with what Schemathesis found."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json"]
    command += [
        "--no-color",
        "--seed",
        "1",
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        str(cases(CASES)),
        *options,
    ]
    # The stream is a WebSocket. A preview never ends, so that a request for one that exists has to be given up.
    command += ["--exclude-path", "/v1/stream", "--exclude-path", "/v1/sessions/{id}/preview"]
    tests = str(ROOT / "tests")
    environment = {**os.environ, "PYTHONPATH": tests, "SCHEMATHESIS_HOOKS": "helpers.schemathesis_hooks"}
    done = subprocess.run(command, env=environment, cwd=ROOT / "tests", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_one_process_answers_as_its_schema_says(token: str | None) -> None:
    given = ("--header", f"Authorization: Bearer {token}") if token else ()
    with serving(whip_app(max_sessions=3, **({"token": token} if token else {}))) as server:
        fuzz(server.url, *given)


def test_a_service_with_workers_answers_as_its_schema_says() -> None:
    options = ("--workers", "2", "--max-sessions", "2", "--allowed-sources", "http://127.0.0.1:9/")
    with process(*options) as running, running.client() as client:
        running.wait(client)
        fuzz(f"http://127.0.0.1:{running.port}")
        assert httpx.get(f"http://127.0.0.1:{running.port}/readyz", timeout=60).status_code == 200
