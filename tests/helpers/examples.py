"""The fenced blocks of the documentation, and what runs them."""

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.repository import ROOT

PAGES = (
    "README.md",
    "affectstream/js/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
SHELL = ("sh", "bash")
RUN = (*SHELL, "python", "js", "ts", "tsx", "html", "json", "toml")
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_PATIENCE = 180.0  # s for the first output, or the end
_GOES_ON = 1.0  # s that a command may go on after its first output


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and why it is not run; "" if it is."""

    file: str
    line: int
    kind: str
    text: str
    why: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def blocks() -> Iterator[Block]:
    for file in PAGES:
        page = (ROOT / file).read_text("utf-8")
        for found in _BLOCK.finditer(page):
            line = page.count("\n", 0, found.start("kind")) + 1
            yield Block(file, line, found["kind"], found["text"], found["why"] or "")


def commands(text: str) -> list[str]:
    """The commands of a shell block: its lines, joined where a backslash or an open quote goes on."""
    found: list[str] = []
    waiting = ""
    for line in text.splitlines():
        waiting += line + "\n"
        if line.endswith("\\"):
            continue
        try:
            words = shlex.split(waiting, comments=True)
        except ValueError:  # a quote is open
            continue
        if words:
            found.append(waiting)
        waiting = ""
    assert not waiting.strip(), waiting
    return found


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """What a command prints. It is to end well, or to print something and go on; then it is ended."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=said,
            stderr=complained, start_new_session=True,
        )  # fmt: skip
        spoke: float | None = None
        started = time.monotonic()
        try:
            while process.poll() is None:
                now = time.monotonic()
                if spoke is None and os.fstat(said.fileno()).st_size:
                    spoke = now
                if now - (spoke or now) > _GOES_ON or now - started > _PATIENCE:
                    break
                time.sleep(0.05)
            code = process.poll()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        complained.seek(0)
        printed, errors = said.read(), complained.read()
    assert code == 0 or (code is None and printed), f"{command}: {code}\n{printed[-500:]}\n{errors[-2000:]}"
    return printed
