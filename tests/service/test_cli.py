"""Bad input at the command line: one sentence, exit code 2, no traceback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small_models import model  # noqa: F401

from service.cli import main
from service.settings import load_settings


def sentence(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a bad command prints, checked to be one line and exit code 2."""
    assert main(argv) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("affectstream: ")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    return err


def test_no_such_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    err = sentence(capsys, "analyze", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "x.jsonl"))
    assert "none.mp4" in err
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize("content", [b"", b"this is text, not a video\n" * 50], ids=["zero-length", "not-a-video"])
def test_not_a_video(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert "clip.mp4" in sentence(capsys, "analyze", str(path), "--out", str(tmp_path / "x.jsonl"))
    assert not (tmp_path / "x.jsonl").exists()


def test_unknown_output_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert ".parquet" in sentence(capsys, "analyze", "demo:", "--out", str(tmp_path / "x.xlsx"))


def test_a_name_that_no_file_can_have_is_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    long = "n" * 300
    assert "so long a name" in sentence(capsys, "analyze", "demo:", "--out", str(tmp_path / f"{long}.csv"))
    assert "none" in sentence(capsys, "analyze", f"none{long}.mp4", "--out", str(tmp_path / "x.csv"))
    assert "so long a name" in sentence(capsys, "study", "run", f"{long}.toml")
    assert "so long a name" in sentence(capsys, "study", "init", f"{long}.toml")
    for name in ("a" * 240, "b"):
        (tmp_path / f"{name}.mp4").touch()
    err = sentence(capsys, "analyze", str(tmp_path), "--out", f"{tmp_path}/results/", "--jobs", "1")
    assert "a result cannot have a name of more than 200 bytes; rename the recording" in err


@pytest.mark.parametrize(
    "argv",
    [
        ("analyze", "", "--out", "x.csv"),
        ("analyze", "demo:", "--out", ""),
        ("analyze", "demo:", "--out", "x.csv", "--report", " "),
        ("analyze", "demo:", "--out", "x.csv", "--markers", ""),
        ("study", "init", ""),
        ("study", "init", "study.toml", ""),
    ],
)
def test_an_empty_name_is_not_the_current_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert "the name is empty, as that of a shell variable that is not set" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_file_that_was_named_is_replaced_by_another(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("label,time\nfilm,1\n")
    Path("a.mp4").write_bytes(b"a recording")
    report = ("--report", "./a.mp4")
    assert "--out would replace --markers" in sentence(
        capsys, "analyze", "a.mp4", "--out", str(tmp_path / "a.csv"), "--markers", "a.csv"
    )
    assert "--report would replace an input" in sentence(capsys, "analyze", "a.mp4", "--out", "x.csv", *report)
    assert "--report would replace an input" in sentence(
        capsys, "analyze", "a.mp4", "b.mp4", "--out", "results", *report
    )
    assert "--report would replace --out" in sentence(capsys, "analyze", "demo:", "--out", "x.csv", "--report", "x.csv")
    assert Path("a.csv").read_text("utf-8") == "label,time\nfilm,1\n"
    assert Path("a.mp4").read_bytes() == b"a recording"


def test_a_report_that_cannot_be_written_is_said_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    monkeypatch.setattr("service.runtime.load_runtime", loaded.append)
    out = str(tmp_path / "x.csv")
    for report, why in (
        ("/proc/r.html", "cannot be written"),
        (str(tmp_path / "none" / "r.html"), "is not there; make it first"),
        (str(tmp_path), "is a folder; give the report a name, such as"),
    ):
        assert why in sentence(capsys, "analyze", "demo:", "--out", out, "--report", report)
    assert loaded == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", ["-3", "0", "nan", "inf"])
def test_frames_per_second_must_be_positive(capsys: pytest.CaptureFixture[str], tmp_path: Path, fps: str) -> None:
    assert fps in sentence(capsys, "analyze", "demo:", f"--fps={fps}", "--out", str(tmp_path / "x.csv"))


def test_folder_without_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    assert "no pictures" in sentence(capsys, "analyze", str(tmp_path), "--out", str(tmp_path / "x.csv"))


@pytest.mark.parametrize(
    ("option", "value"), [("--model", "face-xl"), ("--engine", "abacus"), ("--engine", "openvino:fp7")]
)
def test_unknown_model_or_engine(capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, value: str) -> None:
    out = str(tmp_path / "x.jsonl")
    assert value.split(":")[-1] in sentence(capsys, "analyze", "demo:", option, value, "--out", out)
    assert value.split(":")[-1] in sentence(capsys, "serve", option, value, "--port", "0")


def test_an_input_that_is_not_there_is_said_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    monkeypatch.setattr("service.runtime.load_runtime", loaded.append)
    missing = str(tmp_path / "none.mp4")
    assert "none.mp4" in sentence(capsys, "analyze", missing, "--out", str(tmp_path / "x.csv"))
    source = f"desk=file:{missing}"
    serve = ("serve", "--port", "0", "--workers", "1", "--purpose", "own use", "--source", source)
    assert "none.mp4" in sentence(capsys, *serve)
    assert loaded == []


@pytest.mark.parametrize("name", ["Büro", "a b", "x" * 65])
def test_a_session_name_that_cannot_be_is_said_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    loaded: list[object] = []
    monkeypatch.setattr("service.runtime.load_runtime", loaded.append)
    options = ("--port", "0", "--workers", "1", "--purpose", "own use", "--source", f"{name}=demo:")
    assert "is not made of 1 to 64 letters, digits, _ or -" in sentence(capsys, "serve", *options)
    assert "is not made of 1 to 64 letters, digits, _ or -" in sentence(capsys, "config", "check", *options)
    assert loaded == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--rule", "valance > 1"), "did you mean valence?"),
        (("--osc", "here"), "is not HOST:PORT"),
        (("--mqtt", "http://user:secret@host"), "write mqtt://"),
        (("--webhook", "ftp://user:secret@host"), "is no web address"),
        (("--webhook", "http://host", "--webhook-secret", "whsec_-"), "is not Base64"),
    ],
)
def test_a_sink_or_rule_that_is_set_wrongly(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], why: str
) -> None:
    err = sentence(capsys, "serve", "--port", "0", "--workers", "1", *options)
    assert why in err
    assert "secret@" not in err


def test_a_misspelt_variable_is_named_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTSTREAM_MAX_SESSION", "3")
    assert "AFFECTSTREAM_MAX_SESSION is not known; did you mean AFFECTSTREAM_MAX_SESSIONS?" in sentence(
        capsys, "serve", "--port", "0"
    )


def test_variables_that_others_set_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AFFECTSTREAM_SERVICE_HOST", "10.0.0.1")  # Kubernetes, after a service of that name
    assert load_settings().host == "127.0.0.1"
    assert "AFFECTSTREAM_SERVICE_HOST is not known, and changes nothing" in caplog.text


def test_other_addresses_need_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--token" in sentence(capsys, "serve", "--host", "0.0.0.0")


def test_certificate_needs_its_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--tls-key" in sentence(capsys, "serve", "--tls-cert", str(tmp_path / "cert.pem"))


def test_malformed_redis_address(capsys: pytest.CaptureFixture[str]) -> None:
    err = sentence(capsys, "serve", "--port", "0", "--redis", "http://user:secret@localhost")
    assert "redis" in err
    assert "secret" not in err


def test_busy_port(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in sentence(capsys, "serve", "--port", port)


def test_bad_source_at_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert "gopher" in sentence(
        capsys, "serve", "--port", "0", "--source", "gopher://old.example", "--purpose", "research"
    )


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTSTREAM_TOKEN", "sesame")
    monkeypatch.setenv("AFFECTSTREAM_ALLOWED_ORIGINS", "https://lab.example, https://desk.example")
    settings = load_settings(host="0.0.0.0")
    assert settings.token is not None
    assert settings.token.get_secret_value() == "sesame"
    assert settings.allowed_origins == ["https://lab.example", "https://desk.example"]
    assert "sesame" not in repr(settings)


def test_help_is_there_without_torch_or_openvino() -> None:
    code = "import sys; from service.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'openvino', 'cv2', 'av'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_one_machine_imports_neither_torch_nor_ray() -> None:
    code = "import sys, service.serve, service.analyze, service.runtime, service.web.routes.whip\n"
    code += "import service.workers.assembly, service.workers.local, service.archive.run, service.archive.local\n"
    code += "assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)


def test_an_engine_that_was_built_and_is_refused_is_said_and_makes_the_command_fail(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engines", "build", "small", "wrong", "--precision", "int8"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("affectstream: wrong on openvino:int8 is refused: valence/arousal error ")
    assert len(said.err.splitlines()) == 1
    assert main(["engines", "build", "small", "--precision", "int8"]) == 0


@pytest.mark.parametrize("source", ["rtsp://ann:secret@camera.lab/1", "door=rtsp://ann:secret@camera.lab/1", "a.mp4"])
def test_a_source_that_reads_people_needs_a_purpose(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("AFFECTSTREAM_PURPOSE", "")  # as a compose file sets it
    err = sentence(capsys, "serve", "--port", "0", "--source", "demo:", "--source", source)
    assert "--purpose or AFFECTSTREAM_PURPOSE" in err
    assert "research, usability" in err
    assert "secret" not in err


def test_a_purpose_that_the_law_forbids_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    err = sentence(capsys, "serve", "--port", "0", "--source", "camera:0", "--purpose", "other: staff meetings")
    assert err.startswith("affectstream: --purpose: ")
    assert "Article 5(1)(f) of the EU AI Act" in err
