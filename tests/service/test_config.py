"""The settings file: where it is found, what precedes it, what `config` says of it, and how it is refused."""

from pathlib import Path

import pytest

from models.errors import UserError
from service.cli import main
from service.settings import IN_FILES, Settings, is_secret, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the test's own, without settings from outside."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"AFFECTSTREAM_{name.upper()}", raising=False)
    monkeypatch.delenv("AFFECTSTREAM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "affectstream.toml") -> Path:
    path = Path(name)
    path.write_text(text, "utf-8")
    return path


def refused(*options: str, capsys: pytest.CaptureFixture[str], command: str = "config") -> str:
    """The sentence with which a command refuses its settings, with exit code 2."""
    action = ("check",) if command == "config" else ()
    assert main([command, *action, *options]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith("affectstream: ")
    return said.removeprefix("affectstream: ").strip()


def shown(*options: str, capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """What `config show` prints: value and origin by the setting's name."""
    assert main(["config", "show", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    value, origin = (lines[0].index(head) for head in ("value", "from"))
    return {line[:value].strip(): (line[value:origin].strip(), line[origin:]) for line in lines[1:]}


def test_an_option_precedes_a_variable_a_variable_the_file_and_the_file_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write('port = 9001\nmax-sessions = 3\nmax_faces = 4\nrule = ["frown: AU04 > 0.7 for 2 s", "away: no_face for 5 s"]')
    monkeypatch.setenv("AFFECTSTREAM_PORT", "9002")
    monkeypatch.setenv("AFFECTSTREAM_MAX_FACES", "5")
    settings = load_settings(port=9003)
    assert (settings.port, settings.max_faces, settings.max_sessions, settings.max_batch) == (9003, 5, 3, 0)
    assert settings.rule == ["frown: AU04 > 0.7 for 2 s", "away: no_face for 5 s"]


def test_a_file_is_named_by_an_option_or_a_variable_or_lies_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().port == 8000
    write("port = 1")
    assert load_settings().port == 1
    write("port = 2", "two.toml")
    monkeypatch.setenv("AFFECTSTREAM_CONFIG", "two.toml")
    assert load_settings().port == 2
    assert load_settings(write("port = 3", "three.toml")).port == 3
    assert Settings().port == 8000  # workers and tests that make settings themselves read no file


def test_show_says_where_each_value_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write('host = "localhost"\nredis = "redis://:hunter2@cache:6379/0"\nsource = ["door=rtsp://ann:hunter2@camera/1"]')
    monkeypatch.setenv("AFFECTSTREAM_TOKEN", "hunter2")
    rows = shown("--port", "9", "--ice-servers", "turn:ann:hunter2@turn.example", capsys=capsys)
    assert rows["host"] == ("localhost", "affectstream.toml")
    assert rows["port"] == ("9", "--port")
    assert rows["token"] == ("***", "AFFECTSTREAM_TOKEN")
    assert rows["redis"] == ("***", "affectstream.toml")
    assert rows["max_faces"] == ("20", "default")
    assert set(rows) == set(Settings.model_fields)
    assert "hunter2" not in str(rows)


def test_check_says_that_the_settings_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 0
    assert "there is no settings file" in capsys.readouterr().out
    write('source = "demo:"')
    assert main(["config", "check", "--port", "9"]) == 0
    assert "2 are set, 1 of them in affectstream.toml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_session = 3", "affectstream.toml: the key 'max_session' is not known; did you mean max_sessions?"),
        ("tokenfile = 'x'", "did you mean token_file?"),
        ("[serve]\nport = 1", "the key 'serve' is not known; did you mean"),
        ('port = "many"', "affectstream.toml: port = 'many': input should be a valid integer"),
        ("port = 70000", "less than or equal to 65535; port is: TCP port; 0 takes a free one, such as 8000"),
        ("lsl = 'perhaps'", "affectstream.toml: lsl = 'perhaps': input should be a valid boolean"),
        ("source = [1]", "affectstream.toml: source"),
        ("port = ", "is not TOML"),
        ("max-faces = 1\nmax_faces = 2", "max_faces is set twice"),
        ("rule = 'valance > 1'", "did you mean valence?"),
        ("token = 5", "affectstream.toml: token: input should be a valid string"),
        ("tokens = 'boss:hunter2'", "ROLE is one of view, send, manage"),
        ("tokens = ['view:hunter2', 'send:hunter2']", "the same token is set twice"),
        ("token_file = 'none'", "--token-file none cannot be read (No such file or directory)"),
        ("root_path = 'https://evil.example'", "is no path; write it like /affect"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(text)
    sentence = refused(capsys=capsys)
    assert said in sentence
    assert "hunter2" not in sentence


def test_serve_refuses_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read" in refused("--config", "nowhere.toml", capsys=capsys, command="serve")
    write("prot = 1")
    assert "did you mean port?" in refused(capsys=capsys, command="serve")


def test_bytes_that_are_no_text_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("affectstream.toml").write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in refused(capsys=capsys)


def test_a_byte_order_mark_is_no_part_of_a_setting_or_secret() -> None:
    """Windows editors write one, and a token with one would be another token."""
    Path("token.txt").write_text("run it all\n", "utf-8-sig")
    Path("affectstream.toml").write_text("token_file = 'token.txt'\n", "utf-8-sig")
    token = load_settings().token
    assert token is not None
    assert token.get_secret_value() == "run it all"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_file_in_another_encoding_is_refused(encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("affectstream.toml").write_bytes("contact = 'Jörg'\n".encode(encoding))
    assert "is not UTF-8 text" in refused(capsys=capsys)


@pytest.mark.parametrize("name", ["header_seconds", "body_seconds", "max_megapixels"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_bound_that_bounds_nothing_is_refused(name: str, value: str) -> None:
    with pytest.raises(UserError, match="finite"):
        load_settings(**{name: value})


def test_every_secret_may_lie_in_a_file() -> None:
    Path("secret").write_text("hunter2\n", "utf-8")
    for name in IN_FILES:
        assert is_secret(name)
        value = "view:hunter2" if name == "tokens" else "hunter2"
        Path("secret").write_text(f"{value}\n", "utf-8")
        held = getattr(load_settings(**{f"{name}_file": "secret"}), name)
        assert [one.get_secret_value() for one in (held if isinstance(held, list) else [held])] == [value]
    write("token-file = 'secret'")
    with pytest.raises(UserError, match=r"--token and --token-file are both given"):
        load_settings(token="x", token_file="secret")
    given = load_settings(token="x").token
    assert given is not None
    assert given.get_secret_value() == "x"  # an option precedes the file


def test_a_file_of_tokens_has_one_a_line() -> None:
    Path("tokens").write_text("# who\nview:one, with a comma\n\nsend: two\nmanage:three:with:colons\n", "utf-8")
    roles = load_settings(tokens_file="tokens").roles()
    assert {token: role.label for token, role in roles.items()} == {
        "one, with a comma": "view",
        "two": "send",
        "three:with:colons": "manage",
    }


def test_a_secret_of_a_role_is_enough_beyond_loopback(tmp_path: Path) -> None:
    assert load_settings(host="0.0.0.0", tokens="view:look").host == "0.0.0.0"
    with pytest.raises(UserError, match="--token"):
        load_settings(host="0.0.0.0")


def test_a_name_with_a_line_break_is_refused_in_one_line(tmp_path: Path) -> None:
    for given in ({"token_file": "\n"}, {"tls_cert": "a\nb", "tls_key": "a\nb"}, {"config": tmp_path / "x\ny.toml"}):
        with pytest.raises(UserError) as refused:
            load_settings(**given)
        assert "\n" not in str(refused.value)
