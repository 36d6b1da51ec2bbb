"""How many replicas a pool should run, computed from how long requests wait in its queue."""

from dataclasses import dataclass, field

from service.pool.messages import Counts, Load

WAIT_ABOVE = 0.5  # of a model's period that requests wait on average, above which there are too few replicas
WAIT_BELOW = 0.1  # of a period, below which there may be too many
BUSY_BELOW = 0.6  # part of its time that each of the others would compute after one has gone
UP_AFTER, DOWN_AFTER = 3.0, 60.0  # s for which it must be so


def load_between(before: dict[str, Counts], after: dict[str, Counts], seconds: float) -> Load:
    """Return the load of the replicas that are in both counts, which were taken `seconds` apart."""
    both = [(before[name], now) for name, now in after.items() if name in before]

    def grown(what: str) -> float:
        return float(sum(getattr(now, what) - getattr(then, what) for then, now in both))

    answered, calls = grown("answered"), grown("calls")
    return Load(
        replicas=len(after),
        waiting=sum(now.waiting for now in after.values()),
        wait=grown("waited") / answered if answered else 0.0,
        batch=grown("rows") / calls if calls else 0.0,
        late=grown("late") / seconds,
        busy=min(1.0, grown("busy") / seconds / len(both)) if both else 0.0,
    )


@dataclass(slots=True)
class Scaling:
    """Choose the number of replicas.

    Attributes:
        period: Seconds between two requests of a session.
        fewest: Replicas at least.
        most: Replicas at most.
    """

    period: float
    fewest: int
    most: int
    _crowded: float | None = field(default=None, init=False)  # s, since requests have waited for long
    _idle: float | None = field(default=None, init=False)  # s, since they have hardly waited

    def wanted(self, running: int, load: Load, now: float) -> int:
        """Return how many replicas there should be at `now` seconds, of which `running` run or are being started.

        Where requests have waited for half a period or been dropped for `UP_AFTER` seconds, there are half as many
        more. Where they hardly waited for `DOWN_AFTER` seconds and the others have time for its work, one goes.
        """
        crowded = load.late > 0 or load.wait > WAIT_ABOVE * self.period
        idle = not crowded and load.wait < WAIT_BELOW * self.period
        idle = idle and (load.busy * running < BUSY_BELOW * (running - 1))
        self._crowded = (self._crowded if self._crowded is not None else now) if crowded else None
        self._idle = (self._idle if self._idle is not None else now) if idle else None
        wanted = running
        if self._crowded is not None and now - self._crowded >= UP_AFTER and load.replicas >= running:
            wanted, self._crowded = running + max(1, running // 2), None
        elif self._idle is not None and now - self._idle >= DOWN_AFTER:
            wanted, self._idle = running - 1, None
        return min(self.most, max(self.fewest, wanted))
