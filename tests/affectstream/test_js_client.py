"""The client for browsers and Node: against a real server that refuses, falls silent, goes away and comes back."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import chromium
from helpers.live_server import LiveServer, serving
from helpers.redis_server import free_port
from helpers.repository import ROOT
from helpers.static_site import static_site
from helpers.streams import until

from affectstream import __version__

PACKAGE = ROOT / "affectstream" / "js"
TOOLS = ROOT / "service" / "dashboard" / "node_modules" / ".bin"
BUILT = ROOT / "service" / "dashboard" / "dist" / "client.js"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(not BUILT.is_file(), reason="needs the built page: make dashboard")

# What a page of another program does with the client: it keeps what it was told.
FOLLOW = """async ([url, options]) => {
  const { connect } = await import(`${url}/client.js`);
  window.said = [];
  window.seen = [];
  window.stream = connect(url, {
    ...options,
    onEvent: event => seen.push(`${event.session} ${event.seq}`),
    onStatus: status => said.push(status),
    onEnd: (end, why) => said.push(`${end}: ${why}`),
  });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(bypass_csp=True)  # the tests' own conditions are evaluated as text
    yield context.new_page()
    context.close()


def follow(page: Any, url: str, **options: Any) -> None:
    page.evaluate(FOLLOW, [url, options])


def wait_for(page: Any, condition: str) -> None:
    page.wait_for_function(condition, timeout=180_000)


def test_events_come_as_they_happen_and_the_end_ends_the_stream(page: Any) -> None:
    with serving() as server:
        desk, door = server.open("desk"), server.open("door")
        desk.emit()
        page.goto(f"{server.url}/openapi.json")
        follow(page, server.url, session="desk", staleAfter=60_000)
        wait_for(page, "seen.length === 1")
        door.emit()
        desk.emit(2)
        wait_for(page, "seen.length === 3")
        assert page.evaluate("seen") == ["desk 0", "desk 1", "desk 2"]
        assert page.evaluate("said") == ["connecting", "open"]
        server.sessions.close("desk")
        wait_for(page, "stream.end === 'ended'")
        assert page.evaluate("[stream.status, seen.at(-1), said.at(-1).split(':')[0]]") == ["closed", "desk 3", "ended"]


def test_silence_is_stale_and_a_server_that_restarts_is_found_again(page: Any) -> None:
    port = free_port()
    with ExitStack() as first:
        server = first.enter_context(serving(port=port))
        desk = server.open("desk")
        desk.emit()
        page.goto(f"{server.url}/openapi.json")
        follow(page, server.url, session="desk", staleAfter=100)
        wait_for(page, "said.at(-1) === 'stale'")
        desk.emit()
        wait_for(page, "seen.length === 2")
        server.sessions._open.clear()  # a crash says no goodbye
    wait_for(page, "stream.status === 'lost' && stream.retryAt > 0")
    with serving(port=port) as server:
        desk = server.open("desk")
        desk.emit()
        wait_for(page, "seen.length === 3")
        desk.emit()
        wait_for(page, "seen.length === 4")
        assert page.evaluate("seen") == ["desk 0", "desk 1", "desk 0", "desk 1"]


def test_the_token_opens_and_a_wrong_one_is_refused_in_a_sentence(page: Any) -> None:
    with serving(token="correct horse") as server:
        server.open("desk").emit()
        page.goto(f"{server.url}/client.js")
        for options, says in (({}, "wants a token"), ({"token": "wrong"}, "token")):
            follow(page, server.url, **options)
            wait_for(page, "stream.end === 'refused'")
            assert says in page.evaluate("said.at(-1)")
        follow(page, server.url, token="correct horse")
        wait_for(page, "seen.length === 1")


def test_a_page_of_an_allowed_origin_brings_a_ticket(page: Any, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>A page of another program</title>")
    with static_site(tmp_path) as site, serving(token="secret", allowed_origins=[site]) as server:
        server.open("desk").emit()
        page.goto(site)
        page.evaluate(
            """async url => {
              const { connect } = await import(`${url}/client.js`);
              const headers = { Authorization: "Bearer secret" };
              const ticket = async () =>
                (await (await fetch(`${url}/v1/tickets`, { method: "POST", headers })).json()).ticket;
              window.seen = [];
              window.stream = connect(url, { ticket, onEvent: event => seen.push(event.seq) });
            }""",
            server.url,
        )
        wait_for(page, "seen.length === 1")


def test_a_loop_gets_what_it_can_take_and_ends_with_the_session(page: Any) -> None:
    with serving() as server:
        desk = server.open("desk")
        desk.emit()
        page.goto(f"{server.url}/openapi.json")
        page.evaluate(
            """async url => {
              const { connect } = await import(`${url}/client.js`);
              window.got = [];
              window.heard = 0;
              window.stream = connect(url, { session: "desk", onEvent: () => heard++ });
              window.go = null;
              window.loop = (async () => {
                for await (const event of stream) {
                  got.push(event.seq);
                  if (got.length === 1) await new Promise(done => (window.go = done));
                }
                return "over";
              })();
            }""",
            server.url,
        )
        wait_for(page, "window.go !== null")
        for _ in range(15):
            desk.emit(20)
            heard = desk.emitted
            wait_for(page, f"heard === {heard}")
        server.sessions.close("desk")
        wait_for(page, "stream.end === 'ended'")
        page.evaluate("go()")
        assert page.evaluate("loop") == "over"
        got = page.evaluate("got")
        assert (got[0], got[1:]) == (0, list(range(302 - 256, 302)))
        assert page.evaluate("stream.dropped") == 301 - 256


def test_a_session_that_is_not_there_is_waited_for_or_not(page: Any) -> None:
    with serving() as server:
        page.goto(f"{server.url}/openapi.json")
        follow(page, server.url, session="desk", wait=False)
        wait_for(page, "stream.end === 'unknown'")
        follow(page, server.url, session="desk")
        wait_for(page, "stream.status === 'lost'")
        server.open("desk").emit()
        wait_for(page, "seen.length === 1")
        page.evaluate("stream.close()")
        assert page.evaluate("[stream.status, stream.end]") == ["closed", "closed"]


@pytest.fixture
def node() -> str:
    if NODE is None:
        pytest.skip("needs Node")
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.skip("needs Node 20 or newer")
    return NODE


def run_in_node(node: str, program: str, server: LiveServer) -> str:
    """What the program prints; Node 20 has WebSockets behind an option, newer ones have them without."""
    text = f"import {{ connect, Refused }} from {json.dumps(BUILT.as_uri())};\nconst url = {json.dumps(server.url)};\n"
    command = [node, "--experimental-websocket", "--no-warnings", "--input-type=module", "--eval", text + program]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_node_follows_with_a_token_and_is_refused_without(node: str) -> None:
    loop = "for await (const event of stream) { console.log(event.session, event.seq); if (event.seq === 1) break; }"
    with serving(token="secret") as server:
        server.open("desk").emit(2)
        assert run_in_node(node, f'const stream = connect(url, {{ token: "secret" }}); {loop}', server) == "desk 1\n"
        refused = (
            "try { for await (const _ of connect(url)); } catch (error) { console.log(error instanceof Refused); }"
        )
        assert run_in_node(node, refused, server) == "true\n"


def test_the_package_holds_the_module_and_its_types(node: str, tmp_path: Path) -> None:
    made = json.loads((PACKAGE / "package.json").read_text("utf-8"))
    assert made["version"] == __version__
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    pack = [npm, "pack", "--ignore-scripts", "--json", "--pack-destination", str(tmp_path)]
    packed = json.loads(subprocess.run(pack, cwd=PACKAGE, capture_output=True, text=True, check=True).stdout)[0]
    files = {file["path"] for file in packed["files"]}
    assert files == {"package.json", "README.md", "dist/client.js", "dist/client.d.ts", "dist/event.d.ts"}
    module = tmp_path / "node_modules" / "affectstream"
    module.mkdir(parents=True)
    archive = tmp_path / packed["filename"]
    subprocess.run(["tar", "--strip-components=1", "-xzf", archive, "-C", module], check=True)
    assert len((module / "dist" / "client.js").read_bytes()) < 3500
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "program.ts").write_text(
        'import { connect, type AffectEvent, type Face } from "affectstream";\n'
        "const mean = (faces: Face[]): number | null => faces[0]?.valence ?? null;\n"
        'const show = (event: AffectEvent): void => console.log(mean(event.faces), event.state === "live");\n'
        'connect("http://127.0.0.1:8000", { onEvent: show, onStatus: (status) => console.log(status === "stale") });\n'
        "// @ts-expect-error: there is no such state\n"
        'export const wrong = (event: AffectEvent) => event.state === "asleep";\n'
    )
    for resolution in (["--module", "nodenext"], ["--module", "esnext", "--moduleResolution", "bundler"]):
        options = ["--strict", "--noEmit", "--target", "es2022", "--types", "", *resolution]
        checked = subprocess.run([TOOLS / "tsc", *options, "program.ts"], cwd=tmp_path, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


def test_the_program_of_the_examples_is_current(node: str) -> None:
    assert BUILT.read_bytes() == (PACKAGE / "dist" / "client.js").read_bytes()


def test_everything_is_closed_with_the_page(page: Any) -> None:
    with serving() as server:
        server.open("desk").emit()
        page.goto(f"{server.url}/openapi.json")
        follow(page, server.url)
        until(lambda: server.live.watchers == 1)
        page.evaluate("stream.close()")
        until(lambda: server.live.watchers == 0)
