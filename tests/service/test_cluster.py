"""The connection to a Ray cluster: what is refused, and why."""

import platform
import socket
import sys
from importlib import import_module

import pytest

from models.errors import UserError
from service import cluster


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("nowhere", "no address of a Ray cluster"),
        ("http://localhost:6379", "no address of a Ray cluster"),
        ("localhost:many", "no address of a Ray cluster"),
        ("ray://127.0.0.1", "no address of a Ray cluster"),
    ],
)
def test_what_is_no_address_is_refused(address: str, sentence: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=sentence):
        cluster.connect(address)


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_where_nothing_listens_is_no_cluster(form: str) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = form.format(f"127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(UserError, match=r"There is no Ray cluster at .*Connection refused.*ray start --head"):
        cluster.connect(address)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'affectstream\[cluster\]'"):
        cluster.connect("auto")


def test_other_versions_are_both_named() -> None:
    ray = pytest.importorskip("ray")
    there = {"ray_version": "2.55.0", "python_version": "3.12.1"}
    with pytest.raises(RuntimeError) as raised:  # what Ray itself raises where a cluster says so
        import_module("ray._private.utils").check_version_info(there, "node 10.0.0.7")
    sentence = str(cluster._refused("10.0.0.7:6379", raised.value))
    ours = f"Ray {ray.__version__} on Python {platform.python_version()}"
    assert f"runs Ray 2.55.0 on Python 3.12.1, and this machine {ours}; both must be the same" in sentence
    assert "\n" not in sentence


def test_other_machines_need_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_AUTH_MODE", "RAY_USE_TLS"):
        monkeypatch.delenv(variable, raising=False)
    cluster.check_guarded(["127.0.0.1"])
    with pytest.raises(UserError, match="RAY_AUTH_MODE=token"):
        cluster.check_guarded(["127.0.0.1", "198.51.100.7"])
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    cluster.check_guarded(["198.51.100.7"])
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_USE_TLS", "1")
    cluster.check_guarded(["198.51.100.7"])
