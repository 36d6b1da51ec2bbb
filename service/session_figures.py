"""The live figures of one session: one type, built by the session and passed on as it is."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from service.neutral import NeutralStep


@dataclass(frozen=True, slots=True)
class Latency:
    """Hold milliseconds from the decoded frame's entering the process to the hub, over the last 300 events."""

    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """Hold the live figures of a session; counts begin with each incarnation of the session."""

    fps: Annotated[float, Field(description="Events a second over the last 5 s")] = 0.0
    latency_ms: Latency = Latency()
    dropped: Annotated[dict[str, int], Field(description="Frames skipped, by reason")] = field(default_factory=dict)
    faces: Annotated[int, Field(description="In view now")] = 0
    events: int = 0
    reconnects: int = 0
    uptime_s: float = 0.0
    neutral: Annotated[
        NeutralStep | None, Field(description="The newest neutral step and what came of it; null before the first")
    ] = None
