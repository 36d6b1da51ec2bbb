"""Other people's programs import `affectstream`: it is typed, light, and leaves their program as it was."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from typing import get_type_hints

import pytest

import affectstream

# Prints what an import changed: new modules, environment variables, blocked modules, log handlers and warning filters.
CHANGES = """
import json, logging, os, sys, threading, warnings
before = {"modules": set(sys.modules), "environment": dict(os.environ)}
before |= {"filters": list(warnings.filters), "path": list(sys.path)}
from affectstream import Event, Face, Refused, __version__, redis_stream, stream
print(json.dumps({
    "modules": sorted(set(sys.modules) - before["modules"]),
    "blocked": sorted(name for name, module in sys.modules.items() if module is None),
    "environment": dict(os.environ) == before["environment"],
    "filters": list(warnings.filters) == before["filters"],
    "path": sys.path == before["path"],
    "handlers": len(logging.getLogger().handlers),
    "threads": threading.active_count(),
}))
"""
HEAVY = {"asyncio", "cv2", "fastapi", "httpx", "numpy", "openvino", "prometheus_client", "pydantic", "redis", "torch"}
OURS = {"engines", "models", "service"}


def test_importing_it_loads_nothing_heavy_and_changes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", CHANGES], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    roots = {name.partition(".")[0] for name in found["modules"]}
    assert roots.isdisjoint(HEAVY | OURS | {"websockets"})
    assert found["blocked"] == []
    assert found["environment"]
    assert found["filters"]
    assert found["path"]
    assert found["handlers"] == 0
    assert found["threads"] == 1


def test_reading_events_loads_none_of_the_service() -> None:
    code = """
import asyncio, sys
from affectstream import Refused, redis_stream, stream
async def refused():
    for events in (stream("ftp://127.0.0.1"), redis_stream("http://127.0.0.1", session="desk")):
        try:
            await anext(events)
        except Refused:
            continue
        raise AssertionError
asyncio.run(refused())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"redis", "websockets"} <= loaded
    assert loaded.isdisjoint({"cv2", "fastapi", "numpy", "openvino", "pydantic"} | OURS)


def test_it_says_which_version_it_is() -> None:
    assert affectstream.__version__ == version("affectstream")


def test_its_types_are_for_type_checkers_too() -> None:
    assert (files(affectstream) / "py.typed").is_file()
    assert get_type_hints(affectstream.Event)["faces"] == list[affectstream.Face]


@pytest.mark.parametrize("command", [["-m", "affectstream"], ["-m", "service.cli"]])
def test_the_command_line_says_its_version(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"affectstream {re.escape(affectstream.__version__)}\n", done.stdout)
