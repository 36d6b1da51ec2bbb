"""The systemd unit: systemd itself reads it, rates how far it is confined, and its settings are the program's."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.repository import ROOT
from helpers.serve_process import process

from service.cli import _parser
from service.settings import Settings

UNIT = ROOT / "deploy" / "affectstream.service"
MOST_EXPOSED = 25  # tenths of 10.0; 19 when this was written


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that exists, because systemd looks for it."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/affectstream/bin/affectstream", "/bin/true"))
    return unit


def analyse(*arguments: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("needs systemd-analyze; install it: sudo apt-get install systemd")
    return subprocess.run([tool, *arguments], capture_output=True, text=True)


def test_systemd_takes_the_unit_without_a_word(installed: Path) -> None:
    done = analyse("verify", str(installed))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_service_is_confined(installed: Path) -> None:
    done = analyse("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", str(installed))
    assert done.returncode == 0, done.stdout


def test_its_command_and_variables_are_the_programs() -> None:
    text = UNIT.read_text("utf-8")
    (command,) = re.findall(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE)
    assert str(_parser().parse_args(command.split()).config) == "/etc/affectstream/affectstream.toml"
    variables = set(re.findall(r"^Environment=AFFECTSTREAM_(\w+)=", text, re.MULTILINE))
    assert variables - {"CACHE"} <= {name.upper() for name in Settings.model_fields}


def test_no_picture_reaches_a_core_dump() -> None:
    assert "\nLimitCORE=0\n" in UNIT.read_text("utf-8")


def test_the_credential_that_systemd_hands_over_is_the_token(tmp_path: Path) -> None:
    """systemd copies the file as it is, its line end too, to a folder whose name replaces %d, readable for one user."""
    text, token = UNIT.read_text("utf-8"), "0123456789abcdef0123456789abcdef"
    ((name, source),) = re.findall(r"^LoadCredential=(\w+):(\S+)$", text, re.MULTILINE)
    assert source in (ROOT / "docs/operations.md").read_text("utf-8")
    given = tmp_path / "credentials"
    given.mkdir()
    (given / name).write_text(f"{token}\n")
    (given / name).chmod(0o400)
    given.chmod(0o500)
    variables = dict(re.findall(r"^Environment=(AFFECTSTREAM_\w+)=(.*)$", text, re.MULTILINE))
    del variables["AFFECTSTREAM_CACHE"]
    settings = tmp_path / "affectstream.toml"
    settings.write_text('purpose = "own use"\n')
    variables = {key: value.replace("%d", str(given)) for key, value in variables.items()}
    with process("--config", str(settings), CREDENTIALS_DIRECTORY=str(given), **variables) as service:
        with service.client() as client:
            service.wait(client)
            assert client.get("/v1/sessions").status_code == 401
            assert client.get("/v1/sessions", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        places = [f"/proc/{service.pid}/cmdline", f"/proc/{service.pid}/environ"]
        shown = b"".join(Path(place).read_bytes() for place in places)
        code, printed = service.stop(signal.SIGTERM)
    assert code == 0
    assert token.encode() not in shown
    assert token not in printed
