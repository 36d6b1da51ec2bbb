"""The parts of a service with workers: its sessions, which a cluster's services may share, and its sinks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.publish.hub import Hub
from service.publish.sinks import Sink, open_sinks
from service.settings import Settings
from service.workers.fleet import Fleet
from service.workers.sessions import RemoteSessions

if TYPE_CHECKING:
    from fastapi import FastAPI


class Assembly:
    """Make the parts of one service, each when the application asks for it."""

    def __init__(self, settings: Settings, fleet: Fleet, address: str) -> None:
        """Make nothing yet; `address` is where other services of the cluster reach this one."""
        self._settings = settings
        self._fleet = fleet
        self._address = address
        self._sessions: RemoteSessions | None = None

    def sessions(self, settings: Settings, fleet: Any, hub: Hub) -> RemoteSessions:
        """Return the sessions of the service; with a cluster and Redis, they are shared with other services."""
        leases = self._fleet.launcher.leases
        if settings.cluster is None or settings.redis is None:
            self._sessions = RemoteSessions(self._fleet, hub, settings, leases=leases)
        else:
            from service.workers.shared import SharedSessions

            self._sessions = SharedSessions(self._fleet, hub, settings, leases, self._address)
        return self._sessions

    def sinks(self, settings: Settings, hub: Hub) -> Sequence[Sink]:
        """Return the sinks that the settings name, and what reads the events of other services."""
        sinks: list[Sink] = open_sinks(settings, hub)
        if settings.cluster is not None and settings.redis is not None:
            from service.workers.mirror import Mirror

            sinks.append(Mirror(settings.redis.get_secret_value(), hub, self._foreign))
        return sinks

    def _foreign(self) -> list[str]:
        """Return the names of the sessions of other services."""
        from service.workers.shared import SharedSessions

        return [*self._sessions.foreign] if isinstance(self._sessions, SharedSessions) else []


def application(settings: Settings, fleet: Fleet, address: str) -> "FastAPI":
    """Return the web application of a service with workers, which other services of a cluster reach at `address`.

    It is the same behind the service's own server (`service.serve`) and behind Ray Serve (`service.workers.ingress`).
    """
    from service.web.app import create_app
    from service.workers import metrics, proxy

    assembly = Assembly(settings, fleet, address)
    return create_app(
        settings,
        runtime_factory=lambda _: fleet,
        sessions_factory=assembly.sessions,
        sinks_factory=assembly.sinks,
        routers=[proxy.router, metrics.router],
    )
