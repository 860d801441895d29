"""The listener: which events are logged, at which level, and which calls were slow."""

from __future__ import annotations

import logging
import threading

from milvine.events import Event, Listener, Searched
from milvine.events.server import Answered
from milvine.logs.formatting import line
from milvine.logs.levels import LEVELS, TRACE

_LONG_BY_NATURE = frozenset({"CreateIndex", "Compact", "PreloadCollection"})


def log_events(logger: logging.Logger, slow_seconds: float = 0.0) -> Listener:
    """A listener that logs each event as words; a record carries the event itself as
    `record.event`.

    Searches and other calls that took `slow_seconds` or more (0: none) are logged as warnings, a
    search with its plan.
    """
    slow = _SlowCalls(slow_seconds) if slow_seconds > 0 else None

    def listen(event: Event) -> None:
        level = LEVELS.get(type(event), logging.INFO)
        title = slow.title(event) if slow is not None and level == TRACE else ""
        if title:
            level = logging.WARNING
        if logger.isEnabledFor(level):
            logger.log(level, "%s", _Words(event, title), extra={"event": event, "title": title})

    return listen


class _Words:
    """Words made when a formatter asks for them; ours goes by the event."""

    def __init__(self, event: Event, title: str) -> None:
        self._event, self._title = event, title

    def __str__(self) -> str:
        return line(self._event, self._title)


class _SlowCalls:
    """Calls over a threshold. A slow search is reported once, with its plan, and its call, which is
    slow as well, is not.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._thread = threading.local()

    def title(self, event: Event) -> str:
        """What to call `event` if it was slow, else nothing."""
        if isinstance(event, Searched) and event.seconds >= self._seconds:
            self._thread.search_reported = True
            return "slow search"
        if isinstance(event, Answered):
            reported = getattr(self._thread, "search_reported", False)
            self._thread.search_reported = False
            if event.seconds >= self._seconds and not reported and event.rpc not in _LONG_BY_NATURE:
                return "slow call"
        return ""
