"""How often one address may try a token: wrong ones are counted over the last minute."""

import ipaddress
import time
from collections import deque
from typing import Any

WITHIN = 60.0  # s that wrong tokens are counted over
REMEMBERED = 4096  # addresses; those that tried longest ago are forgotten first
ELSEWHERE = 6  # wrong tokens outside /login, for each that is allowed there


class Tries:
    """Count the wrong tokens of each client address. Used on the event loop alone."""

    def __init__(self, limit: int) -> None:
        """Allow `limit` wrong tokens of one address within `WITHIN` seconds."""
        self._limit = limit
        self._wrong: dict[str, deque[float]] = {}
        self._trusted: dict[str, None] = {}  # addresses that sent the right token

    def wait(self, address: str) -> float:
        """Return the seconds after which this address may try again; 0 where it may now."""
        wrong = self._wrong.get(_network(address))
        if wrong is None or len(wrong) < self._limit:
            return 0.0
        return max(0.0, WITHIN - (time.monotonic() - wrong[0]))

    def trusts(self, address: str) -> bool:
        """Return whether this address has sent the right token before."""
        return _network(address) in self._trusted

    def right(self, address: str) -> None:
        """Note that this address sent the right token."""
        _note(self._trusted, _network(address), None)

    def wrong(self, address: str) -> None:
        """Count a wrong token of this address."""
        network = _network(address)
        times = self._wrong.pop(network, None) or deque(maxlen=self._limit)
        times.append(time.monotonic())
        _note(self._wrong, network, times)


def _note(notes: dict[str, Any], key: str, value: Any) -> None:
    notes[key] = value
    while len(notes) > REMEMBERED:
        del notes[next(iter(notes))]


def _network(address: str) -> str:
    """Return the address itself, or the /64 network of an IPv6 address, all of which one client may have."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
