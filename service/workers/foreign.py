"""Other services of a cluster and their sessions, as the service here handles them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx

from service.capture.media import Frame, State
from service.history import Past
from service.neutral import NeutralStep, read_step
from service.register import Unavailable
from service.rules import RuleState
from service.session_figures import SessionFigures
from service.session_options import SessionOptions
from service.web.routes.sessions import SessionInfo
from service.workers.http_peer import ANSWER_WITHIN, HttpPeer


class OtherService(HttpPeer):
    """Send requests about sessions to another service of the cluster, as `Worker` does to a worker of this one."""

    def __init__(self, address: str, token: str | None) -> None:
        """Send requests to `address` with the token that all services of the cluster have."""
        self.address = address
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._access: dict[str, Any] = {
            "base_url": address, "headers": headers, "timeout": ANSWER_WITHIN, "trust_env": False,
        }  # fmt: skip

    async def metrics(self, within: float) -> str:
        """Return its metrics as text; nothing if it does not answer within so many seconds."""
        try:
            answer = await self._async_client.get("/metrics", timeout=within)
        except httpx.HTTPError:
            return ""
        return answer.text if answer.is_success else ""

    def _make_client(self) -> httpx.Client:
        return httpx.Client(**self._access)

    def _make_async_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._access)


class NoWorkerHere(Unavailable):
    """Report that this service has no worker for a new session, and that `instead`, another one, has (HTTP 503)."""

    def __init__(self, instead: OtherService) -> None:
        """Name the other service."""
        super().__init__("this service has no worker now; another one of the cluster has, so ask that one")
        self.instead = instead


class ForeignSession:
    """Describe a session of another service, as that service last described it."""

    opened = True
    foreign = True

    def __init__(self, info: SessionInfo, service: OtherService, is_peer: bool) -> None:
        """Hold what `service` last said in `info`; `is_peer` is whether a WebRTC peer sends the session."""
        self.info = info
        self.worker = service
        self.name, self.label, self.purpose = info.id, info.source, info.purpose
        self.incarnation, self.node, self.detail = info.incarnation, info.node, info.detail
        self.options = SessionOptions(info.model, info.voice, info.smoothing, info.rate)
        self.state = State(info.state)
        self.source = None if is_peer else info.source

    @property
    def over(self) -> bool:
        """Return whether the session has ended or failed for good."""
        return self.state in (State.ENDED, State.FAILED)

    def figures(self) -> SessionFigures:
        """Return the live figures as of a second ago at most."""
        return self.info.figures

    def reset_baseline(self) -> None:
        """Start the neutral baseline anew with the next frame. Blocks."""
        self.worker.request("POST", f"/v1/sessions/{self.name}/baseline")

    def begin_neutral_step(self) -> NeutralStep:
        """Begin the neutral step with the next frame. Blocks; raise the error with which the other service refuses."""
        return read_step(self.worker.request("POST", f"/v1/sessions/{self.name}/neutral"))

    def latest_frame(self) -> Frame | None:
        """Return None: the other service answers previews (`service.workers.proxy`)."""
        return None

    def erase(self) -> int:
        """Let the other service forget what it keeps of the session; return the history's rows. Blocks."""
        erased: dict[str, int] = self.worker.request("DELETE", f"/v1/sessions/{self.name}/data")["erased"]
        return erased["history"]

    def history(self, since: float, resolution: int) -> Past:
        """Return nothing: the other service answers such requests (`service.workers.proxy`)."""
        return Past([], [], [])

    def mark(self, label: str, *, t: float | None = None, at: datetime | None = None) -> dict[str, Any]:
        """Return the marker that the next event will report. Blocks; raise the error of a service that refuses."""
        wanted = {"label": label, "t": t, "at": at.isoformat() if at is not None else None}
        marker: dict[str, Any] = self.worker.request("POST", f"/v1/sessions/{self.name}/markers", json=wanted)
        return marker

    def rules(self) -> list[RuleState]:
        """Return the session's rules. Blocks."""
        answer = self.worker.request("GET", f"/v1/sessions/{self.name}/rules")
        return [RuleState(**rule) for rule in answer["rules"]]

    def set_rules(self, texts: Sequence[str]) -> list[RuleState]:
        """Judge by these rules from now on. Blocks; raise the error with which the other service refuses them."""
        answer = self.worker.request("PUT", f"/v1/sessions/{self.name}/rules", json={"rules": [*texts]})
        return [RuleState(**rule) for rule in answer["rules"]]
