"""Who is told of what happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from milvine.logs.failures import report


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


Listener = Callable[[Event], None]


class Events:
    """A list of listeners. A listener must not block: it is called on threads of the engine, and on
    the caller's.

    What it raises is reported and changes nothing of what it was told of: an insert that is stored
    is stored, and the next listener is told. An interrupt of the caller's thread passes.

    Attributes:
        busy: whether anybody listens to what calls tell: what is costly to tell need not be made
            up for nobody.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners: list[tuple[Listener, tuple[type[Event], ...]]] = [
            (each, (Event,)) for each in listeners
        ]
        self._by_type: dict[type[Event], list[Listener]] = {}
        self.busy = bool(listeners)

    def subscribe(
        self, listener: Listener, kinds: tuple[type[Event], ...] = (Event,), rare: bool = False
    ) -> None:
        """From now on `listener` is told of every event that is one of `kinds`; searches are
        not held up by others. `rare`: none of them is told by a call that goes well."""
        self._listeners.append((listener, kinds))
        self._by_type = {}
        self.busy |= not rare

    def emit(self, event: Event) -> None:
        listeners = self._by_type.get(type(event))
        if listeners is None:
            # In this order: who subscribes now makes the first a new one.
            subscribed = self._by_type, self._listeners
            listeners = [listener for listener, kinds in subscribed[1] if isinstance(event, kinds)]
            subscribed[0][type(event)] = listeners
        for listener in listeners:
            try:
                listener(event)
            except BaseException as error:  # SystemExit among it, which would end a thread
                report(error, listener)
