"""Every example of the documentation runs, against a real service, or says why it is not run."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from helpers.browser import chromium
from helpers.examples import PAGES, RUN, SHELL, Block, blocks, commands, run
from helpers.redis_server import redis_in
from helpers.repository import ROOT
from helpers.serve_process import process
from helpers.static_site import static_site

from service.events import event_schema

PAGE = ROOT / "service" / "dashboard"
BUILT = PAGE / "dist" / "client.js"
TOOLS = PAGE / "node_modules" / ".bin"
BLOCKS = [*blocks()]
PYTHON = """import ast, asyncio, inspect, sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
made = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(made):
    asyncio.run(made)
"""


def of(*kinds: str) -> Any:
    """Parametrises a test with the blocks of these languages that are run."""
    found = [pytest.param(block, id=block.place) for block in BLOCKS if block.kind in kinds and not block.why]
    return pytest.mark.parametrize("block", found)


@dataclass(frozen=True)
class Service:
    """A service with the demo as `desk`, and its Redis."""

    port: int
    redis: int
    site: str  # an origin that it allows
    pages: Path  # that site's folder

    def text(self, block: Block) -> str:
        """The example with the addresses of this service in place of the usual ones."""
        text = re.sub(r"(?:127\.0\.0\.1|localhost):8000", f"127.0.0.1:{self.port}", block.text)
        text = re.sub(r"(?:127\.0\.0\.1|localhost):6379", f"127.0.0.1:{self.redis}", text)
        text = text.replace("redis-cli", f"redis-cli -p {self.redis}").replace(
            "curl ", "curl --silent --show-error --fail "
        )
        text = re.sub(r"affectstream watch(?! http)", f"affectstream watch http://127.0.0.1:{self.port}", text)
        return text.replace("watch.py desk", f"watch.py desk http://127.0.0.1:{self.port}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    pages = tmp_path_factory.mktemp("site")
    with redis_in(tmp_path_factory.mktemp("redis")) as redis, static_site(pages) as site:
        redis.start()
        options = ("--source", "desk=demo:", "--rate", "10", "--redis", redis.url, "--workers", "1")
        with process(*options, "--allowed-origins", site) as started, started.client() as client:
            started.wait(client)
            yield Service(started.port, redis.port, site, pages)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder that knows the package by its name, and the examples."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "affectstream").symlink_to(ROOT / "affectstream" / "js")
    for name in ("react", "react-dom", "scheduler", "@types", "csstype"):
        (tmp_path / "node_modules" / name).symlink_to(PAGE / "node_modules" / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


def environment() -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "AFFECTSTREAM_TOKEN": ""}


def test_every_example_can_be_run_or_says_why_it_is_not() -> None:
    assert {block.file for block in BLOCKS} <= set(PAGES)
    assert [block.place for block in BLOCKS if not block.why and block.kind not in (*RUN, "text")] == []
    assert [block.place for block in BLOCKS if block.why and len(block.why) < 10] == []
    assert {block.kind for block in BLOCKS if not block.why} >= {"sh", "python", "js", "ts", "tsx", "html"}


@of(*SHELL)
def test_commands(block: Block, service: Service, folder: Path) -> None:
    for command in commands(service.text(block)):
        if needed := [word for word in ("redis-cli", "curl") if word in command and shutil.which(word) is None]:
            pytest.skip(f"needs {needed[0]}")
        run(["bash", "-c", command], folder, environment())


@of("python")
def test_python(block: Block, service: Service, folder: Path) -> None:
    (folder / "example.py").write_text(service.text(block))
    prints = "print(" in block.text
    said = run([sys.executable, "-c", PYTHON, "example.py"], folder, environment())
    assert bool(said) == prints


def node() -> list[str]:
    found = shutil.which("node")
    if found is None or not BUILT.is_file():
        pytest.skip("needs Node and the built page: make dashboard")
    return [found, "--experimental-websocket", "--no-warnings"]


@of("js")
def test_javascript(block: Block, service: Service, folder: Path) -> None:
    (folder / "example.js").write_text(service.text(block))
    assert run([*node(), "example.js"], folder, environment())


def checked(folder: Path, name: str) -> None:
    """Lets TypeScript check the example in a file."""
    options = (
        "--noEmit --strict --target es2022 --module esnext --moduleResolution bundler --skipLibCheck --jsx react-jsx"
    )
    done = subprocess.run([TOOLS / "tsc", *options.split(), name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def bundled(folder: Path, name: str) -> None:
    options = ["--file", "bundle.js", "--format", "esm", "--transform.define", "process.env.NODE_ENV:'production'"]
    done = subprocess.run([TOOLS / "rolldown", name, *options], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@of("ts")
def test_typescript(block: Block, service: Service, folder: Path) -> None:
    runs = node()
    (folder / "example.ts").write_text(service.text(block))
    checked(folder, "example.ts")
    bundled(folder, "example.ts")
    assert run([*runs, "bundle.js"], folder, environment())


@of("html", "tsx")
def test_in_a_browser(block: Block, service: Service, folder: Path) -> None:
    text = service.text(block)
    if block.kind == "tsx":
        node()
        (folder / "example.tsx").write_text(text)
        checked(folder, "example.tsx")
        bundled(folder, "example.tsx")
        shutil.copy(folder / "bundle.js", service.pages)
        text = '<!doctype html><body><script type="module" src="/bundle.js"></script>'
    elif not BUILT.is_file():
        pytest.skip("needs the built page: make dashboard")
    (service.pages / "example.html").write_text(text)
    said: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(f"{service.site}/example.html")
        if block.kind == "tsx":
            page.wait_for_function("/[+-]?[01]\\.\\d\\d/.test(document.body.innerText)", timeout=180_000)
        else:
            page.wait_for_event("console", lambda message: re.search(r"\d", message.text), timeout=180_000)
    assert [text for text in said if "rror" in text] == []


@of("json", "toml")
def test_data_is_what_it_says(block: Block) -> None:
    if block.kind == "toml":
        assert tomllib.loads(block.text)
        return
    data = json.loads(block.text)
    if data.get("schema") == "affect/1":
        jsonschema.validate(data, event_schema())


def test_examples_that_are_files_parse() -> None:
    files = [*(ROOT / "docs" / "examples").glob("*.py")]
    assert files
    for file in files:
        ast.parse(file.read_text("utf-8"))


def test_commands_are_told_apart() -> None:
    text = "a 1 \\\n  2  # why\nb 'x\ny'\n# nothing\nc\n"
    assert commands(text) == ["a 1 \\\n  2  # why\n", "b 'x\ny'\n", "c\n"]
