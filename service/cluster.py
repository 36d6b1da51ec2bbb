"""The connection of this process to a Ray cluster: address, versions, secret."""

import ipaddress
import os
import re
import signal
import socket
import threading
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import psutil

from models.errors import UserError

NAMESPACE = "affectstream"  # of Ray, in which our actors have their names
REACH_WITHIN = 3.0  # s that the address has to take a connection; Ray itself would wait for minutes
# By default a process of a cluster whose head is gone ends itself after a minute. A service must go on without it.
_HEAD_AWAY = ("RAY_gcs_rpc_server_reconnect_timeout_s", str(365 * 86400))
# By default a call without a connection starts a cluster on this machine. Where a connection was lost, it must fail.
_NO_CLUSTER_OF_ITS_OWN = ("RAY_ENABLE_AUTO_CONNECT", "0")
_VERSIONS = re.compile(r"Ray: (\S+).*?Python: (\S+).*?Ray: (\S+).*?Python: (\S+)", re.DOTALL)

_lock = threading.Lock()


def connect(address: str) -> ModuleType:
    """Return Ray, connected to the cluster at `address` (`auto`, `HOST:PORT` or `ray://HOST:PORT`).

    A connection that this process has is used again. Raise `UserError` without Ray, without a cluster at the address,
    and for other versions of Ray or Python there.
    """
    os.environ.setdefault(*_HEAD_AWAY)
    os.environ.setdefault(*_NO_CLUSTER_OF_ITS_OWN)
    try:
        import ray
    except ImportError:
        raise UserError("--cluster needs Ray: pip install 'affectstream[cluster]'.") from None
    with _lock:
        if not ray.is_initialized():
            _connect(ray, address)
    return ray


def _connect(ray: ModuleType, address: str) -> None:
    _check_reachable(address)
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if in_main else None
    try:
        ray.init(address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    except RuntimeError as error:
        raise _refused(address, error) from None
    except (ConnectionError, ValueError, OSError) as error:
        raise _nothing_at(address, error) from None
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)  # Ray's own handler would end the service at once, without draining


def _check_reachable(address: str) -> None:
    """Raise `UserError` if nothing takes a connection at `address`."""
    if address == "auto":
        services = import_module("ray._private.services")  # nothing public says which clusters run here
        # An address from the environment, or from a file of an earlier cluster, may be of a cluster that has ended.
        address = os.environ.get("RAY_ADDRESS") or next(iter(services.find_gcs_addresses()), "")
        if not address:
            raise UserError(
                "No Ray cluster runs on this machine; start one with `ray start --head`, or join one with "
                "`ray start --address HOST:PORT`."
            )
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("", "ray") or not host or not port:
        raise UserError(f"--cluster {address} is no address of a Ray cluster; give auto, HOST:PORT or ray://HOST:PORT.")
    try:
        socket.create_connection((host, port), REACH_WITHIN).close()
    except OSError as error:
        raise _nothing_at(address, error) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type's name; Ray's texts are pages with remote tracebacks."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _nothing_at(address: str, error: Exception) -> UserError:
    why = getattr(error, "strerror", None) or first_line(error)
    return UserError(
        f"There is no Ray cluster at {address} ({why}); start one with `ray start --head`, or join one with "
        "`ray start --address HOST:PORT`."
    )


def _refused(address: str, error: Exception) -> UserError:
    found = _VERSIONS.search(str(error))
    if found is None:
        return _nothing_at(address, error)
    theirs, ours = found.groups()[:2], found.groups()[2:]
    return UserError(
        f"The Ray cluster at {address} runs Ray {theirs[0]} on Python {theirs[1]}, and this machine Ray {ours[0]} on "
        f"Python {ours[1]}; both must be the same."
    )


def is_guarded(environment: Mapping[str, str] | None = None) -> bool:
    """Return whether Ray's processes prove to each other that they belong together: by its token, or mutual TLS."""
    environment = os.environ if environment is None else environment
    tls = environment.get("RAY_USE_TLS", "0").lower() in ("1", "true")
    return tls or environment.get("RAY_AUTH_MODE", "").lower() == "token"


def check_guarded(addresses: Iterable[str]) -> None:
    """Raise `UserError` if a node is on another machine and Ray asks for neither a token nor certificates."""
    foreign = [address for address in addresses if not is_own(address)]
    if foreign and not is_guarded():
        raise UserError(
            f"Node {foreign[0]} of the cluster is on another machine, and whoever reaches Ray may run programs there: "
            "set RAY_AUTH_MODE=token with RAY_AUTH_TOKEN_PATH=FILE on every node and here, or RAY_USE_TLS=1."
        )


def is_own(address: str) -> bool:
    """Return whether an IP address is one of this machine."""
    if ipaddress.ip_address(address).is_loopback:
        return True
    return address in {one.address for several in psutil.net_if_addrs().values() for one in several}


def node_name(node: Mapping[str, Any]) -> str:
    """Return the name by which people call a node, a row of `ray.nodes()`: that of `--node-name`, else of its host."""
    name, address = str(node.get("NodeName") or ""), str(node["NodeManagerAddress"])
    return name if name and name != address else str(node.get("NodeManagerHostname") or address)
