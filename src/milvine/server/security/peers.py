"""Callers by their address, and how often each may do something."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import unquote

_PEERS_MAX = 4096  # addresses remembered; who was not heard of for the longest is forgotten
_NETWORK_BITS = 64  # of IPv6: whoever has one address there has all of them


def host_of(peer: str) -> str:
    """The address of a peer as gRPC tells it: `ipv4:1.2.3.4:567`, `ipv6:%5B::1%5D:567`,
    `1.2.3.4:567`, `unix:`.
    """
    text = unquote(peer)
    for kind in ("ipv4:", "ipv6:"):
        text = text.removeprefix(kind)
    host, colon, port = text.rpartition(":")
    return (
        host.strip("[]")
        if colon and port.isdigit() and (host.count(":") == 0 or "[" in host)
        else text.strip("[]")
    )


def network_of(host: str) -> str:
    """What counts as one caller: an IPv4 address, or a /64 of IPv6."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(
            ipaddress.ip_network((int(address) >> _NETWORK_BITS << _NETWORK_BITS, _NETWORK_BITS))
        )
    return host


class Rates:
    """At most `per_second` of something for each caller, and `burst` at once. Thread-safe."""

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        # What is left, and when that was.
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, host: str) -> bool:
        """Whether the caller may do it once more now."""
        caller, now = network_of(host), self._clock()
        with self._lock:
            left, before = self._callers.pop(caller, (self._burst, now))
            left = min(self._burst, left + (now - before) * self._per_second)
            allowed = left >= 1
            self._callers[caller] = (left - allowed, now)
            if len(self._callers) > _PEERS_MAX:
                self._callers.popitem(last=False)
        return allowed
