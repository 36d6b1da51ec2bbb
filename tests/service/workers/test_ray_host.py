"""The actor that starts a worker on its node, without a cluster: where it listens, and what it refuses."""

import pytest

ray = pytest.importorskip("ray", reason="needs pip install 'affectstream[cluster]'")

from service.workers.ray_host import WorkerHost  # noqa: E402 # needs Ray


def test_nothing_listens_beyond_loopback_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_AUTH_MODE", "RAY_USE_TLS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "203.0.113.7")
    why = WorkerHost({"settings": {}, "log_level": "INFO"}, "key", "holder", ["127.0.0.1"], None).start()["why"]
    assert why.startswith("Node 203.0.113.7 does not know the cluster's secret")
    assert "\n" not in why


def test_certificates_that_are_missing_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "203.0.113.7")
    monkeypatch.setenv("RAY_USE_TLS", "1")
    for variable in ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"):
        monkeypatch.delenv(variable, raising=False)
    why = WorkerHost({"settings": {}, "log_level": "INFO"}, "key", "holder", ["127.0.0.1"], None).start()["why"]
    assert "not all of RAY_TLS_SERVER_CERT" in why
