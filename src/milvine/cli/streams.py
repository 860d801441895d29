"""The standard streams of a command: closed ones are opened on nothing, and what cannot be written
is said once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO


def open_closed() -> None:
    """Opens each of the descriptors 0 to 2 that is closed on the null device.

    Else the next file that is opened gets its number, and what a library says on standard error is
    written into the log or the catalog.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)


def write_now(text: str) -> None:
    """A line to standard output, past Python's buffer, in which a line that
    cannot be written would stay.

    Raises:
        OSError: it cannot be written.
    """
    os.write(1, text.encode(errors="replace") + b"\n")


def unwritten() -> OSError | None:
    """Writes what Python still holds for standard output and standard error.

    What cannot be written is let go, and the last reason is returned: the interpreter would
    complain of it at its end, and give its own exit code.
    """
    reason: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        reason = _flush(stream) or reason
    return reason


def _flush(stream: TextIO | None) -> OSError | None:
    if stream is None or stream.closed:
        return None
    try:
        stream.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
            stream.flush()
        return error
    return None
