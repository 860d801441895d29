"""What a log does where it cannot be written: it loses lines and goes on, for a server has more to
do than to log.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

_STANDARD_ERROR = 2


class LosesLines(logging.Handler):
    """For handlers that write to `where`. That lines cannot be written is said once on standard
    error, and how many they were is logged when it can be written again; Python would print a
    traceback for each of them.
    """

    where = "standard error"
    _lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        before = self._lost
        super().emit(record)
        if before and self._lost == before:
            self._lost = 0
            text = "the log could not be written: %d lines before this one may be missing"
            super().emit(
                logging.LogRecord("milvine", logging.WARNING, "", 0, text, (before,), None)
            )

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._lost += 1
        if self._lost == 1:
            reason = error.strerror or type(error).__name__
            said = (
                f"milvine: cannot write the log to {self.where}: {reason}. Lines are lost until it"
                " can be written\n"
            )
            with suppress(OSError):
                os.write(_STANDARD_ERROR, said.encode(errors="replace"))


class LossyStream(LosesLines, logging.StreamHandler):  # type: ignore[type-arg]
    """A log on a standard stream."""
