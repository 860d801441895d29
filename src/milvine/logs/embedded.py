"""The log of a database in somebody else's process: warnings and worse, to Python's `logging`. What
becomes of them there is the program's to say.

What makes words of an event is imported with the first that is told.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from importlib import import_module

from milvine.events import Event, Events, Listener
from milvine.logs.failures import log
from milvine.logs.levels import LOUD

_LOGGER = logging.getLogger("milvine")


def speak_up(notices: Sequence[str]) -> Events:
    """Events whose warnings and errors the logger `milvine` is told of, as it is of `notices` at
    once.
    """
    for notice in notices:
        log(_LOGGER, logging.WARNING, "%s", notice)
    events = Events()
    events.subscribe(_log, LOUD, rare=True)
    return events


def _log(event: Event) -> None:
    """The program's filters and handlers run here, mostly on a thread of the database."""
    _listener()(event)


@cache
def _listener() -> Listener:
    listener: Listener = import_module("milvine.logs.listener").log_events(_LOGGER)
    return listener
