"""The commands work in a folder that holds other people's packages of our names, and from an installed wheel."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from helpers.redis_server import free_port
from helpers.repository import ROOT
from numpy.typing import NDArray

from affectstream import Event, stream

PACKAGES = ("affectstream", "engines", "models", "service")  # of the wheel
NAMES = ("engines", "models", "service")  # that strangers have too
READY = 60  # s for a server to answer


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A working directory with packages of our names, none of which can be imported."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('this is the {name} of somebody else')\n")
    return tmp_path


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `affectstream` of a wheel in an environment of its own, which borrows what the wheel needs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, because a build leaves files in the tree that it builds from
    source.mkdir()
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (wheel,) = folder.glob("affectstream-*.whl")
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return folder / "env" / "bin" / "affectstream"


@pytest.fixture(params=["python -m affectstream", "wheel"])
def command(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "wheel":
        return [str(request.getfixturevalue("installed"))]
    return [sys.executable, "-m", "affectstream"]


def clean() -> dict[str, str]:
    """This process's environment without what would lead Python to the repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(command: list[str], *options: str, cwd: Path) -> str:
    done = subprocess.run([*command, *options], cwd=cwd, env=clean(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def serving(command: list[str], cwd: Path, *options: str) -> Iterator[str]:
    """Address of the service that `command` runs; it is stopped afterwards."""
    port = free_port()
    process = subprocess.Popen(
        [*command, "serve", "--port", str(port), *options],
        cwd=cwd, env=clean(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=READY)
        assert b"of somebody else" not in output


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return as soon as `url` answers 200."""
    deadline = time.monotonic() + READY
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=60).status_code == 200:
                return
        assert process.poll() is None, "the service ended"
        assert time.monotonic() < deadline, "the service does not answer"
        time.sleep(0.1)


async def first_face(url: str) -> Event:
    """Return the first event with a face of any session."""
    async for event in stream(url):
        if event["faces"]:
            return event
    raise AssertionError("the stream ended")


def test_child_processes_leave_the_working_directory_out_of_their_path() -> None:
    texts = [
        path.read_text("utf-8")
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.py")
        if "_modules" not in str(path)
    ]
    options = [option for text in texts for option in re.findall(r'sys\.executable, (.*?)"-m"', text)]
    assert len(options) >= 3
    assert set(options) == {'"-P", '}


def test_the_wheel_holds_what_it_needs(installed: Path, tmp_path: Path) -> None:
    python = installed.with_name("python")
    code = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)})"
    files = run([str(python)], "-P", "-c", code, cwd=tmp_path).split()
    assert all(Path(file).is_relative_to(installed.parent.parent) for file in files)


def test_analyze(command: list[str], strangers: Path, portrait: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(strangers / "portrait.png"), portrait[:, :, ::-1])
    run(command, "analyze", "portrait.png", "--out", "portrait.jsonl", cwd=strangers)
    (event,) = (json.loads(line) for line in (strangers / "portrait.jsonl").read_text("utf-8").splitlines())
    assert event["faces"][0]["expression"]["label"] == "happiness"


def test_serve_with_workers(command: list[str], strangers: Path) -> None:
    async def scenario(url: str) -> Event:
        async with asyncio.timeout(READY):
            return await first_face(url)

    with serving(command, strangers, "--source", "desk=demo:", "--workers", "2") as url:
        assert asyncio.run(scenario(url))["session"] == "desk"


def test_bench(installed: Path, strangers: Path) -> None:
    options = ["bench", "live", "--minutes", "0.02", "--streams", "1", "--json"]
    rows = json.loads(run([str(installed)], *options, cwd=strangers))["rows"]
    first = next(row["value"] for row in rows if "first event" in row["what"])
    assert first > 0
