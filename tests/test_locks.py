"""The lock files cover what pyproject.toml asks for, with hashes, and without the address of an index."""

import re
import tomllib
from pathlib import Path

import pytest
from helpers.repository import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
SERVING = [*PROJECT["project"]["dependencies"], *GROUPS["build"]]
UNLOCKED = {"torch"}  # the Makefile says why
WANTED = {
    "serve.txt": SERVING,
    "cluster.txt": [*PROJECT["project"]["dependencies"], *EXTRAS["cluster"]],
    "test.txt": [*SERVING, *EXTRAS["train"], *EXTRAS["quantize"], *EXTRAS["dev"]],
    "release.txt": GROUPS["release"],
}


def locked(name: str) -> dict[str, set[Version]]:
    """Versions of each package in a lock file; there are several where platforms or Pythons need different ones."""
    versions: dict[str, set[Version]] = {}
    for package, version in re.findall(
        r"^([A-Za-z0-9._-]+)==([^ \\;]+)", (ROOT / "requirements" / name).read_text("utf-8"), re.M
    ):
        versions.setdefault(canonicalize_name(package), set()).add(Version(version))
    return versions


@pytest.mark.parametrize("name", WANTED)
def test_everything_that_is_asked_for_is_locked_within_its_bounds(name: str) -> None:
    versions = locked(name)
    for text in WANTED[name]:
        wanted = Requirement(text)
        if wanted.name in UNLOCKED:
            assert wanted.name not in versions
            continue
        found = versions.get(canonicalize_name(wanted.name))
        assert found, f"{wanted.name} is not in requirements/{name}: run `make lock`"
        assert all(wanted.specifier.contains(version) for version in found), f"{text}: run `make lock`"


@pytest.mark.parametrize("name", WANTED)
def test_every_locked_package_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)[1:]
    assert len(entries) > 10
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?://|file://|--(extra-)?index-url|--find-links|^-", text, flags=re.M)


# Not in requirements/test.txt: PyTorch brings them there, in the versions that it needs.
BROUGHT_BY_TORCH = {"fsspec", "jinja2", "markupsafe"}


@pytest.mark.parametrize("name", ["serve.txt", "cluster.txt"])
def test_tests_run_with_the_versions_that_serve(name: str) -> None:
    test = locked("test.txt")
    versions = locked(name)
    assert all(versions[package] == test[package] for package in versions.keys() - BROUGHT_BY_TORCH)


@pytest.mark.parametrize("path", ["Makefile", *(f"docker/Dockerfile{kind}" for kind in ("", ".gpu", ".cluster"))])
def test_installations_check_the_hashes(path: str) -> None:
    assert "--require-hashes" in Path(ROOT / path).read_text("utf-8")
