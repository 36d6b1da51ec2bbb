"""The Serve configuration of front ends, without a cluster: what it holds, and what is refused before one is asked."""

from pathlib import Path

import pytest
import yaml

from service.cli import main


def test_a_dry_run_writes_the_configuration_and_asks_no_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "front.yaml"
    options = ["--replicas", "3", "--redis", "redis://cache:6379/0", "--source", "hall=demo:", "--max-subscribers", "8"]
    assert main(["cluster", "deploy", "--dry-run", "--cluster", "127.0.0.1:1", "--out", str(out), *options]) == 0
    assert str(out) in capsys.readouterr().out
    config = yaml.safe_load(out.read_text("utf-8"))
    assert config["http_options"] == {"host": "127.0.0.1", "port": 8000}
    (application,) = config["applications"]
    assert application["args"] == {
        "cluster": "auto",
        "redis": "redis://cache:6379/0",
        "source": ["hall=demo:"],
        "max_subscribers": 8,
    }
    (deployment,) = application["deployments"]
    assert (deployment["num_replicas"], deployment["max_ongoing_requests"]) == (3, 8 + 192)


def test_a_settings_file_is_in_it_and_its_secrets_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "affectstream.toml", tmp_path / "front.yaml"
    command = ["cluster", "deploy", "--dry-run", "--config", str(file), "--out", str(out), "--max-faces", "3"]
    file.write_text('max_faces = 5\nmax_sessions = 7\ncluster = "auto"\n')
    assert main(command) == 0
    args = yaml.safe_load(out.read_text("utf-8"))["applications"][0]["args"]
    assert args == {"cluster": "auto", "max_sessions": 7, "max_faces": 3}
    file.write_text('token = "correct-horse"\n')
    assert main(command) == 2
    assert "--token holds a secret" in capsys.readouterr().err


def test_certificates_are_those_of_the_proxies(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    out = tmp_path / "front.yaml"
    files = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    assert main(["cluster", "deploy", "--dry-run", "--out", str(out), *files]) == 0
    config = yaml.safe_load(out.read_text("utf-8"))
    assert config["http_options"]["ssl_certfile"] == str(tmp_path / "cert.pem")
    assert config["applications"][0]["args"] == {"cluster": "auto"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--token", "secret"], "--token holds a secret"),
        (["--redis", "redis://:hunter2@cache:6379/0"], "AFFECTSTREAM_REDIS on every node"),
        (["--webhook", "https://hook.example/x"], "--webhook holds a secret"),
        (["--source", "rtsp://me:pw@cam.lab/1", "--purpose", "research"], "--source holds a secret"),
        (["--source", "camera:0"], "needs a purpose"),
        (["--replicas", "2"], "2 front ends share their sessions through Redis"),
        (["--replicas", "0"], "--replicas 0 is not a number above 0"),
        (["--port", "0"], "--port 0 takes a free port"),
        (["--host", "0.0.0.0"], "reachable from other machines: set --token"),
        (["--source", "what:"], "what:"),
    ],
)
def test_what_must_not_or_cannot_be_written_is_refused_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    out = tmp_path / "front.yaml"
    assert main(["cluster", "deploy", "--dry-run", "--out", str(out), *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "hunter2" not in said
    assert not out.exists()


def test_where_there_is_no_cluster_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="needs pip install 'affectstream[cluster]'")
    command = ["cluster", "deploy", "--cluster", "127.0.0.1:1", "--out", str(tmp_path / "front.yaml")]
    assert main(command) == 2
    assert "There is no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err
