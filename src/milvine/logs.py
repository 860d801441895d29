"""Events as lines of the standard library's logging. The engine emits events and knows no logger; this listens."""

from __future__ import annotations

import logging
import re
from dataclasses import fields

from milvine import events
from milvine.events import Event, Listener

_LEVELS: dict[type[Event], int] = {
    events.TornTailCut: logging.WARNING,
    events.IndexSetAside: logging.WARNING,
    events.LogFailed: logging.ERROR,
    events.JobFailed: logging.ERROR,
    events.RequestFailed: logging.ERROR,
    events.FilesRemoved: logging.DEBUG,
    events.Answered: logging.DEBUG,
    events.Inserted: logging.DEBUG,
    events.GroupCommitted: logging.DEBUG,
    events.CatalogCommitted: logging.DEBUG,
    events.Loaded: logging.DEBUG,
    events.PushFailed: logging.WARNING,
}
"""Levels that are not INFO."""


def log_events(logger: logging.Logger) -> Listener:
    """A listener that logs each event: its name in words, then its fields, on one line but for tracebacks."""

    def listen(event: Event) -> None:
        level = _LEVELS.get(type(event), logging.INFO)
        if logger.isEnabledFor(level):
            logger.log(level, "%s", line(event))

    return listen


def line(event: Event) -> str:
    """`TornTailCut(file="1.log", ...)` as `torn tail cut: file=1.log ...`."""
    words = re.sub(r"(?<=.)(?=[A-Z])", " ", type(event).__name__).lower()
    values = " ".join(f"{field.name}={_value(getattr(event, field.name))}" for field in fields(event))
    return f"{words}: {values}" if values else words


def _value(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
