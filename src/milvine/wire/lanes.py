"""What both ends of a lane agree on: which calls it carries, and how a client learns where one begins.

A lane is an HTTP/2 connection for one call at a time (`wire/http2.py`). Every gRPC port carries lanes, for they are
plain HTTP/2. A server of ours may have a port for lanes alone, where no thread stands between the socket and the
search; the command `lane` tells which.
"""

from __future__ import annotations

import re

CALLS = frozenset({"Search", "SearchByID", "SearchInFiles", "GetVectorsByID", "CountCollection", "HasCollection"})
REQUEST_BYTES_MAX = 12 << 10
"""Of one message: below every window that a server opens, and within one frame."""
COMMAND = "lane"
_PLACE = re.compile(r"lane ([0-9]{1,5}) ([0-9]{1,10})")


def told(port: int, instance: int) -> str:
    """The answer to the command."""
    return f"{COMMAND} {port} {instance}"


def place(answer: str) -> tuple[int, int] | None:
    """(port, number of the server's run) of an answer; None where it tells of no port."""
    found = _PLACE.fullmatch(answer)
    return (int(found[1]), int(found[2])) if found and int(found[1]) < 1 << 16 and int(found[2]) < 1 << 32 else None
