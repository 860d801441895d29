"""Which requests are in progress, as the command `requests` tells."""

from __future__ import annotations

from itertools import count
from threading import get_ident

_KINDS = {rpc: rpc for rpc in ("Insert", "CreateIndex", "Search", "SearchByID", "Flush", "Compact")}
_KINDS["SearchInFiles"] = "Search"


class Running:
    """Thread-safe without a lock: every thread writes its own entry only. A thread serves one
    request at a time.
    """

    def __init__(self) -> None:
        self._numbers = count()
        self._requests: dict[int, tuple[str, int]] = {}

    def enter(self, rpc: str) -> None:
        """A request begins on this thread; requests are numbered from 0."""
        self._requests[get_ident()] = rpc, next(self._numbers)

    def leave(self) -> None:
        """The request of this thread ends."""
        self._requests.pop(get_ident(), None)

    def __len__(self) -> int:
        return len(self._requests)

    def others(self) -> list[str]:
        """`<kind>-<number>` of every request but that of this thread, oldest first."""
        own = get_ident()
        running = [request for thread, request in list(self._requests.items()) if thread != own]
        return [
            f"{_KINDS.get(rpc, 'OtherRequest')}-{number}"
            for rpc, number in sorted(running, key=lambda r: r[1])
        ]
