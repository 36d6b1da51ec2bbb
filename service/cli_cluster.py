"""The commands `cluster status` and `cluster deploy`, and the options of `serve`, which `deploy` takes as well."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIGURATION = Path("affectstream-serve.yaml")


def add_commands(
    commands: Any,
    add_model: Callable[[argparse.ArgumentParser], None],
    table: Callable[[list[dict[str, Any]], bool], None],
) -> None:
    """Add the two commands to the command line; `table` prints rows."""
    cluster = commands.add_parser("cluster", help="what runs on a Ray cluster, and front ends in Ray Serve")
    actions = cluster.add_subparsers(dest="action", required=True, metavar="ACTION")

    status = actions.add_parser("status", help="print the nodes, workers, sessions and pools of a cluster")
    status.set_defaults(run=lambda args: _status(args, table))
    _add_address(status)
    status.add_argument("--json", action="store_true")

    deploy = actions.add_parser(
        "deploy",
        help="write the Ray Serve configuration of front ends, and apply it",
        description="Run `affectstream serve --cluster` as replicas in Ray Serve.",
    )
    deploy.set_defaults(run=_deploy)
    _add_address(deploy)
    deploy.add_argument("--replicas", type=int, default=1, metavar="N", help="front ends (1); several need --redis")
    deploy.add_argument(
        "--out", type=Path, default=CONFIGURATION, metavar="FILE", help=f"the configuration ({CONFIGURATION})"
    )
    deploy.add_argument("--dry-run", action="store_true", help="only write the configuration")
    add_serve_options(deploy, add_model)


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster", default="auto", metavar="ADDRESS", help="auto, HOST:PORT or ray://HOST:PORT (auto)"
    )


def _status(args: argparse.Namespace, table: Callable[[list[dict[str, Any]], bool], None]) -> None:
    """Print what runs on a cluster."""
    from service.cluster_status import status

    found = status(args.cluster)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for rows in found.values():
        table(rows, False)


def _deploy(args: argparse.Namespace) -> None:
    """Write the Serve configuration, and apply it."""
    from service import cluster_deploy

    own = {"run", "command", "action", "cluster", "replicas", "out", "dry_run", "config"}
    options = {name: value for name, value in vars(args).items() if name not in own}
    config = cluster_deploy.configuration(options, args.replicas, args.config)
    cluster_deploy.write(config, args.out)
    print(f"The configuration is in {args.out}.", flush=True)
    if not args.dry_run:
        print(f"Affectstream is at {' and '.join(cluster_deploy.apply(config, args.cluster))}")


def add_serve_options(parser: argparse.ArgumentParser, add_model: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the options of a service, whichever server it is behind."""
    parser.add_argument(
        "--source", action="append", default=[], metavar="[NAME=]SRC",
        help="demo:, camera:0, rtsp://..., http(s)://..., file:PATH[?loop=1]; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings file (affectstream.toml, if there is one)"
    )
    add_model(parser)
    parser.add_argument("--purpose", help="what sessions that read people are for; needed by every source but demo:")
    parser.add_argument("--contact", metavar="TEXT", help="who runs the service, for the people in view (/notice)")
    _add_event_options(parser)
    _add_web_options(parser)
    _add_limit_options(parser)
    parser.add_argument(
        "--session-metrics", action=argparse.BooleanOptionalAction, default=None,
        help="add figures of each session to /metrics, with its name (off)",
    )  # fmt: skip
    parser.add_argument("--log-format", choices=("text", "json"), help="form of each line of the log (text)")


def _add_event_options(parser: argparse.ArgumentParser) -> None:
    """Add where events go, where markers come from, and the rules that raise alerts."""
    parser.add_argument("--redis", metavar="URL", help="Redis that stores the events, such as redis://localhost:6379/0")
    parser.add_argument("--redis-file", type=Path, metavar="FILE", help="file that holds the URL")
    parser.add_argument(
        "--redis-ttl", type=int, metavar="S", help="seconds that a stream outlives its last event (3600)"
    )
    parser.add_argument(
        "--lsl", action="store_true", default=None, help="offer faces and markers on Lab Streaming Layer"
    )
    parser.add_argument("--redis-markers", metavar="STREAM", help="a stream of that Redis whose entries become markers")
    parser.add_argument("--lsl-markers", metavar="NAME", help="a Lab Streaming Layer stream whose texts become markers")
    parser.add_argument("--osc", metavar="HOST:PORT", help="send the values as Open Sound Control messages (UDP)")
    parser.add_argument("--mqtt", metavar="URL", help="MQTT broker that gets the events, such as mqtt://localhost")
    parser.add_argument("--mqtt-file", type=Path, metavar="FILE", help="file that holds the URL")
    parser.add_argument(
        "--webhook",
        action="append",
        default=[],
        metavar="URL",
        help="web address that gets each alert by POST; may be repeated",
    )
    parser.add_argument("--webhook-secret", metavar="KEY", help="signs webhooks; better: AFFECTSTREAM_WEBHOOK_SECRET")
    parser.add_argument("--webhook-secret-file", type=Path, metavar="FILE", help="file that holds the key")
    parser.add_argument(
        "--rule", action="append", default=[], metavar="RULE",
        help="raises alerts: 'frown: AU04 > 0.7 for 2 s' or 'no_face for 5 s'; may be repeated",
    )  # fmt: skip


def _add_web_options(parser: argparse.ArgumentParser) -> None:
    """Add the address of the server, and who may use it: tokens, certificates, sources and web origins."""
    parser.add_argument("--host", help="address to bind (127.0.0.1); any other needs a token")
    parser.add_argument("--port", type=int, help="TCP port (8000)")
    parser.add_argument("--root-path", metavar="PATH", help="path that a proxy puts this under, such as /affect")
    parser.add_argument("--token", help="guards every route but /healthz and /notice; better: --token-file")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file that holds the token")
    parser.add_argument(
        "--tokens", action="append", default=[], metavar="ROLE:TOKEN",
        help="a further token, for view, send or manage; may be repeated; better: --tokens-file",
    )  # fmt: skip
    parser.add_argument("--tokens-file", type=Path, metavar="FILE", help="file that holds one ROLE:TOKEN a line")
    parser.add_argument("--tls-cert", type=Path, metavar="PEM")
    parser.add_argument("--tls-key", type=Path, metavar="PEM")
    parser.add_argument(
        "--allowed-sources", metavar="PREFIXES", help="prefixes of sources that the API may open (demo:,camera:)"
    )
    parser.add_argument("--allowed-origins", metavar="ORIGINS", help="other web origins that may call the API")
    parser.add_argument(
        "--frame-ancestors", metavar="ORIGINS", help="web origins that may show the dashboard in a frame"
    )
    parser.add_argument("--ice-servers", metavar="URLS", help="STUN and TURN servers for WebRTC")


def _add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Add how much the service does at once: processes, sessions, bytes, connections, pictures, models and faces."""
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read faces (one a core, as needed)")
    parser.add_argument("--max-sessions", type=int, metavar="N")
    parser.add_argument("--max-subscribers", type=int, metavar="N")
    parser.add_argument("--max-request-bytes", type=int, metavar="N")
    parser.add_argument("--max-header-bytes", type=int, metavar="N", help="largest head of a request (32768)")
    parser.add_argument(
        "--header-seconds", type=float, metavar="S", help="seconds in which a request's head must arrive (10)"
    )
    parser.add_argument(
        "--body-seconds", type=float, metavar="S", help="seconds in which a request's body must arrive (30)"
    )
    parser.add_argument(
        "--max-connections-per-client", type=int, metavar="N", help="connections at once from one address (128)"
    )
    parser.add_argument("--max-logins-per-minute", type=int, metavar="N", help="wrong tokens from one address (10)")
    parser.add_argument(
        "--max-megapixels", type=float, metavar="N", help="million pixels that a picture may have (64; of a film 36)"
    )
    parser.add_argument("--rate", type=float, metavar="HZ", help="events a second of a session at most (each picture)")
    parser.add_argument("--max-models", type=int, metavar="N", help="models in memory at once, --model among them (2)")
    parser.add_argument("--max-faces", type=int, metavar="N", help="faces read per frame (20)")
    parser.add_argument("--max-batch", type=int, metavar="N", help="faces per engine call, over all sessions (16)")
    parser.add_argument(
        "--max-wait-ms",
        type=float,
        metavar="MS",
        help="milliseconds that a batch may wait for faces of other sessions (20; GPU 0)",
    )
