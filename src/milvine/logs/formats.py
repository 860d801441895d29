"""Formatters: lines for people, or one JSON object a line. Both stamp with the configured time
zone.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timedelta, timezone, tzinfo

from milvine.events import Event
from milvine.logs.formatting import as_object, line


def zone(text: str) -> tzinfo | None:
    """The zone of `UTC`, `UTC+8` or `UTC-3:30`; None, the system's, for anything else."""
    match = re.fullmatch(r"UTC(?:([+-])(\d{1,2})(?::(\d{2}))?)?", text)
    if match is None:
        return None
    offset = timedelta(hours=int(match[2] or 0), minutes=int(match[3] or 0))
    return timezone(-offset if match[1] == "-" else offset)


class TextFormatter(logging.Formatter):
    """`2026-11-23 15:13:34.123+08:00 WARNING torn tail cut: file=...`."""

    def __init__(self, where: tzinfo | None) -> None:
        super().__init__()
        self._zone = where

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            text = line(event, getattr(record, "title", ""))
        else:  # of a library that serves with us
            text = f"{record.name}: {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{_stamp(record, self._zone, ' ')} {record.levelname} {text}"


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "event": "torn_tail_cut", "file": ...}`, or
    `message` for `event`.
    """

    def __init__(self, where: tzinfo | None) -> None:
        super().__init__()
        self._zone = where

    def format(self, record: logging.LogRecord) -> str:
        values = {
            "time": _stamp(record, self._zone, "T"),
            "level": record.levelname,
            "logger": record.name,
        }
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            values |= as_object(event, getattr(record, "title", ""))
        else:
            values["message"] = record.getMessage()
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str, ensure_ascii=False)


def _stamp(record: logging.LogRecord, where: tzinfo | None, separator: str) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc).astimezone(where)
    return moment.isoformat(separator, "milliseconds")
