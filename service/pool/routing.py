"""Which replica reads a session: rendezvous hashing (Thaler and Ravishankar 1998) with bounded loads.

All requests of a session go to one replica, where a newer one takes the place of the one that waits and where all
sessions are served alike. Where a replica comes or goes, few other sessions move. Hashing alone gives one of eight
replicas a quarter more of 300 sessions than the mean, so that no replica takes more than `EXCESS` of it (Mirrokni,
Thorup and Zadimoghaddam 2018).
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from math import ceil

EXCESS = 1.1  # of the mean number of sessions of a replica
FORGET = 2.0  # s without a request, after which a session counts no more


class Routes:
    """Hold which replica reads each session of one service. Not thread-safe."""

    def __init__(self) -> None:
        """Begin without sessions."""
        self._replicas: tuple[str, ...] = ()
        self._chosen: dict[str, str] = {}
        self._seen: dict[str, float] = {}  # s, of each session's last request
        self._counts: Counter[str] = Counter()

    def replica_of(self, session: str, replicas: Sequence[str], now: float) -> str:
        """Return the name of the replica, one of at least one `replicas`, for a request at `now` seconds."""
        if set(replicas) != set(self._replicas):
            # All choose anew, and most of them as before, because each prefers the same replica.
            self._replicas = tuple(replicas)
            self._chosen.clear()
            self._counts.clear()
        self._seen[session] = now
        if session not in self._chosen:
            self._tidy(now)
            self._choose(session)
        return self._chosen[session]

    def _choose(self, session: str) -> None:
        room = ceil(EXCESS * (len(self._chosen) + 1) / len(self._replicas))
        preferred = sorted(self._replicas, key=lambda name: _score(name, session), reverse=True)
        chosen = next(name for name in preferred if self._counts[name] < room)
        self._chosen[session] = chosen
        self._counts[chosen] += 1

    def _tidy(self, now: float) -> None:
        for session in [session for session, seen in self._seen.items() if now - seen > FORGET]:
            del self._seen[session]
            if session in self._chosen:
                self._counts[self._chosen.pop(session)] -= 1


def _score(replica: str, session: str) -> bytes:
    return hashlib.blake2b(f"{replica}\0{session}".encode(), digest_size=8).digest()
