"""A front end as a replica of Ray Serve: the application of `serve --cluster` behind Serve's HTTP proxies.

`affectstream cluster deploy` (`service.cluster_deploy`) writes the configuration that names `build`. A replica also has
a server of its own on a free port, through which the other replicas reach it: Serve's proxies choose a replica for each
request, and a session belongs to one of them.
"""

import asyncio
import contextlib
import logging
import socket
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import UserError
from service import logs, tracing
from service.cluster import is_own
from service.long_lived import give_back_regularly
from service.settings import LOOPBACK, Settings, load_settings
from service.workers.metrics import WHOLE
from service.workers.shared import SharedSessions

DEPLOYMENT = "FrontEnd"

_applications: list[ASGIApp] = []  # of this process, which is one replica


def build(options: dict[str, Any]) -> Any:
    """Return the Serve application of front ends with these options of `serve`; Ray Serve calls it."""
    from ray import serve

    return serve.deployment(name=DEPLOYMENT)(serve.ingress(_application)(FrontEnd)).bind(options)


class FrontEnd:
    """Run one service of the cluster, from construction until Serve stops the replica."""

    async def __init__(self, options: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        """Start the first worker and the application. Raise `UserError` for an option that cannot be used."""
        logs.set_up(logging.INFO)
        self._stack = contextlib.AsyncExitStack()
        settings = load_settings(**options)
        logs.set_form(settings.log_format)
        tracing.set_up()
        give_back_regularly()
        try:
            await self._start(settings)
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self, settings: Settings) -> None:
        from service.workers.assembly import application
        from service.workers.fleet import Fleet
        from service.workers.ray_launcher import RayLauncher

        listener = self._stack.enter_context(_listener(settings))
        fleet = Fleet(await asyncio.to_thread(RayLauncher, settings))
        self._stack.push_async_callback(asyncio.to_thread, fleet.close)
        fleet.start()
        host, port = listener.getsockname()[:2]
        app = await asyncio.to_thread(
            application, settings, fleet, f"http://{f'[{host}]' if ':' in host else host}:{port}"
        )
        await asyncio.to_thread(fleet.wait_for)
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        if isinstance(app.state.sessions, SharedSessions):
            self._stack.push_async_callback(asyncio.to_thread, app.state.sessions.hand_over)
        await self._serve_others(app, settings, listener)
        _applications.append(_behind_serve(app))

    async def _serve_others(self, app: FastAPI, settings: Settings, listener: socket.socket) -> None:
        """Answer the other replicas on `listener` from now on."""
        from service.web.server import Server, configuration

        ready = asyncio.Event()
        server = Server(configuration(app, settings), ready=ready.set)
        serving = asyncio.create_task(server.serve_beside(listener))

        async def end() -> None:
            server.should_exit = True
            await serving

        self._stack.push_async_callback(end)
        await ready.wait()

    async def __del__(self) -> None:
        """Leave the sessions to the other front ends, and end the workers; Serve calls it when it stops the replica."""
        await self._stack.aclose()


def _application() -> ASGIApp:
    """Return the application of this replica, which exists by the time that Serve asks for it."""
    return _applications[-1]


def _behind_serve(app: ASGIApp) -> ASGIApp:
    """Return `app` for Serve, without its lifespan: the replica has begun that already and ends it itself."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app({**scope, WHOLE: True}, receive, send)
            return
        for moment in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{moment}.complete"})

    return answer


def _listener(settings: Settings) -> socket.socket:
    """Return the socket for the other replicas: on loopback where the service is, else on this node's address."""
    import ray as untyped_ray

    ray: Any = untyped_ray
    address = "127.0.0.1"
    if settings.host not in LOOPBACK:
        address = ray.util.get_node_ip_address()
    elif any(not is_own(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]):
        raise UserError(
            f"host {settings.host} reaches one machine, and the cluster has several: deploy with --host 0.0.0.0, and "
            "with AFFECTSTREAM_TOKEN set on every node"
        )
    return socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
