"""What a handler or filter of the program's log raises: it is told where `logging` tells its own
failures, and is never the result of what was logged.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from contextlib import suppress

from milvine.interrupts import interrupts


def report(error: BaseException, failing: object) -> None:
    """Say on standard error that `failing` raised, unless `logging.raiseExceptions` is off. To be
    called once for each failure, where it was caught.

    Raises:
        BaseException: `error` itself, where it interrupts the thread that called us: Ctrl-C, or
            what the handler of a signal raised. Signals come to the main thread alone.
    """
    if threading.current_thread() is threading.main_thread() and interrupts(error):
        raise error
    if logging.raiseExceptions and sys.stderr:
        text = "".join(traceback.format_exception(error))
        with suppress(OSError, ValueError):  # it is closed, or its reader has gone
            sys.stderr.write(f"{failing!r} failed; what it was told of did not:\n{text}")


def log(logger: logging.Logger, level: int, text: str, *args: object, traced: bool = False) -> None:
    """As `logger.log`, with the exception that is handled if `traced`; what a handler raises is
    reported.
    """
    try:
        logger.log(level, text, *args, exc_info=traced, stacklevel=2)
    except BaseException as error:
        report(error, logger)
