"""`affectstream cluster deploy`: front ends as replicas of Ray Serve, by a configuration that is written to a file.

`serve deploy` and a KubeRay `RayService` take the same file. It holds no secrets, because the replicas read those from
the environment of their nodes.
"""

import re
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from models.errors import UserError
from models.files import written_whole
from service.cluster import connect, is_own
from service.redact import redact
from service.serve import addresses, check_purposes, check_sources
from service.settings import LOOPBACK, Settings, read_settings
from service.web.connections import OTHER_CONNECTIONS
from service.workers.ingress import DEPLOYMENT

NAME = "affectstream"  # of the application in Ray Serve
READY_WITHIN = 300.0  # s; the first replica waits for a worker, which may fetch weights
STOP_WITHIN = 5.0  # s that Serve waits for open requests of a replica that it stops; a stream never ends by itself
# Settings that replicas are not given: Serve's proxies take the place of the service's own server, and the cluster is
# the one that they run on. `host` is not among them, because the guards of a replica need it too.
_LEFT_OUT = ("port", "tls_cert", "tls_key", "cluster")
_SENTENCE = re.compile(r"UserError: ?(?P<sentence>[^\n]+)")


def configuration(options: Mapping[str, Any], replicas: int, file: Path | None = None) -> dict[str, Any]:
    """Return the Serve configuration of `replicas` front ends with `options` of `serve`, as JSON values.

    It also holds the settings of the settings file (`service.config_file`) that no option replaces. Raise `UserError`
    for a setting that cannot be used, and for one that holds a secret.
    """
    resolved = read_settings(file, {name: value for name, value in options.items() if value != []})
    resolved.warn()
    settings = resolved.settings
    given = {**resolved.file.values, **{name: value for name, value in options.items() if value not in (None, [])}}
    check_purposes(settings)
    check_sources(settings)
    if replicas < 1:
        raise UserError(f"--replicas {replicas} is not a number above 0; give how many front ends there are")
    if replicas > 1 and settings.redis is None:
        raise UserError(f"{replicas} front ends share their sessions through Redis: give --redis, or --replicas 1")
    if settings.port == 0:
        raise UserError("--port 0 takes a free port, which nobody would know of a cluster; give a number")
    _check_open(given, settings)
    http: dict[str, Any] = {"host": settings.host, "port": settings.port}
    if settings.tls_cert is not None:
        http |= {"ssl_certfile": str(settings.tls_cert), "ssl_keyfile": str(settings.tls_key)}
    shown = settings.model_dump(mode="json", include=set(given))
    plain = {name: given[name] if name in ("redis", "mqtt") else value for name, value in shown.items()}
    arguments = {name: value for name, value in plain.items() if name not in _LEFT_OUT}
    deployment = {
        "name": DEPLOYMENT,
        "num_replicas": replicas,
        "max_ongoing_requests": settings.max_subscribers + OTHER_CONNECTIONS,  # a stream is a request that goes on
        "graceful_shutdown_timeout_s": STOP_WITHIN,
        "ray_actor_options": {"num_cpus": 0},  # it moves messages; a worker takes a CPU
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": http,
        "applications": [
            {
                "name": NAME,
                "route_prefix": "/",
                "import_path": "service.workers.ingress:build",
                "args": {"cluster": "auto", **arguments},
                "deployments": [deployment],
            }
        ],
    }


def write(config: Mapping[str, Any], path: Path) -> None:
    """Write the configuration as YAML. Raise `UserError` if the file cannot be written."""
    try:
        import yaml  # comes with Ray
    except ImportError:
        raise UserError("cluster deploy needs Ray: pip install 'affectstream[cluster]'.") from None
    try:
        with written_whole(path) as aside:
            aside.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another file with --out") from None


def apply(config: Mapping[str, Any], address: str) -> list[str]:
    """Apply the configuration to the cluster at `address`; return where browsers find the service once it is ready.

    Raise `UserError` where there is no cluster, where its Ray Serve cannot take the configuration, and with the
    replica's reason where one does not start.
    """
    http = config["http_options"]
    ray: Any = connect(address)
    try:
        from ray import serve
        from ray.serve.schema import ServeDeploySchema

        several = any(not is_own(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"])
        if several and http["host"] in LOOPBACK:
            raise UserError(
                f"--host {http['host']} reaches one machine, and the cluster has several: give --host 0.0.0.0, and set "
                "AFFECTSTREAM_TOKEN here and on every node"
            )
        serve.start(proxy_location=config["proxy_location"], http_options=http)
        client = import_module("ray.serve.context")._get_global_client()  # what Serve's own REST API calls
        _check_proxies(client.http_config, http)
        _check_alone(serve)
        client.deploy_apps(ServeDeploySchema.model_validate(config))
        _wait(serve)
    finally:
        ray.shutdown()
    return addresses("https" if "ssl_certfile" in http else "http", http["host"], http["port"])


def _check_open(given: Mapping[str, Any], settings: Settings) -> None:
    """Raise `UserError` for an option whose value must not stand in a file."""
    for name in given:
        value = getattr(settings, name, None)
        texts = [str(one) for one in (given[name] if isinstance(given[name], list) else [given[name]])]
        address = name in ("redis", "mqtt", "source")
        secret = isinstance(value, SecretStr) or (isinstance(value, list) and isinstance(value[0], SecretStr))
        if (address and any(redact(text) != text for text in texts)) or (secret and not address):
            raise UserError(
                f"--{name.replace('_', '-')} holds a secret, which must not stand in the configuration: set "
                f"AFFECTSTREAM_{name.upper()} on every node before `ray start`, and leave the option out"
            )


def _check_proxies(running: Any, wanted: Mapping[str, Any]) -> None:
    """Raise `UserError` if the proxies of Serve listen elsewhere; they cannot be moved while they run."""
    if (running.host, running.port) != (wanted["host"], wanted["port"]):
        raise UserError(
            f"Ray Serve of this cluster listens at {running.host}:{running.port} already, and can only be moved by "
            f"`serve shutdown`, which ends all that it runs; give --host {running.host} --port {running.port}"
        )


def _check_alone(serve: Any) -> None:
    """Raise `UserError` if Serve runs other applications, which a configuration without them would end."""
    others = sorted(set(serve.status().applications) - {NAME})
    if others:
        raise UserError(
            f"Ray Serve of this cluster also runs {', '.join(others)}, which this configuration would end; write it "
            "with --dry-run, add its application to theirs, and apply the whole with `serve deploy`"
        )


def _wait(serve: Any) -> None:
    """Return when the application runs. Raise `UserError` with the replica's reason if one does not start."""
    deadline = time.monotonic() + READY_WITHIN
    while True:
        found = serve.status().applications.get(NAME)
        if found is not None:
            if found.status == "RUNNING":
                return
            said = "\n".join([found.message, *(one.message for one in found.deployments.values())])
            sentence = _SENTENCE.search(said)
            failed = found.status in ("DEPLOY_FAILED", "UNHEALTHY")
            if sentence is not None or failed or time.monotonic() > deadline:
                serve.delete(NAME)
                last = [line for line in said.splitlines() if line.strip()]
                why = sentence["sentence"] if sentence is not None else last[-1] if last else found.status
                raise UserError(f"a front end of the cluster does not start: {why}")
        time.sleep(0.5)
