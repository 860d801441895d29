"""Events as log lines. The engine emits events and knows no logger; this listens, and decides where
lines go.

`set_up_logging` is for a process that serves; whoever embeds the database has a logging of their
own and gives `log_events` a logger.
"""

from __future__ import annotations

from milvine.logs.listener import TRACE, log_events
from milvine.logs.places import LogFolderFailed, set_up_logging
from milvine.logs.words import line

__all__ = ["TRACE", "LogFolderFailed", "line", "log_events", "set_up_logging"]
