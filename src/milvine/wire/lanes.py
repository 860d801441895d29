"""What both ends of a lane agree on: which calls it carries, and how a client learns where one
begins.

A lane is an HTTP/2 connection for one call at a time (`wire/http2.py`). Every gRPC port carries
lanes, for they are plain HTTP/2. A server of ours may have a port for lanes alone, where no thread
stands between the socket and the search; the command `lanes` tells which, and the name of a Unix
socket that leads there from the same machine.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CALLS = frozenset(
    {"Search", "SearchByID", "SearchInFiles", "GetVectorsByID", "CountCollection", "HasCollection"}
)
REQUEST_BYTES_MAX = 12 << 10
"""Of one message: below every window that a server opens, and within one frame."""
COMMAND = "lanes"
UNIX_BYTES = 16
_PLACE = re.compile(rf"lane ([0-9]{{1,5}}) ([0-9]{{1,10}})(?: ([0-9a-f]{{{2 * UNIX_BYTES}}}))?")


class Place(NamedTuple):
    """A port, the number of the server's run, and the name of a Unix socket on its machine; empty
    for none.
    """

    port: int
    instance: int
    unix: str = ""


def told(place: Place) -> str:
    """The answer to the command."""
    return f"lane {place.port} {place.instance} {place.unix}".rstrip()


def place(answer: str) -> Place | None:
    """The place of an answer; None where it tells of no port."""
    found = _PLACE.fullmatch(answer)
    if found and int(found[1]) < 1 << 16 and int(found[2]) < 1 << 32:
        return Place(int(found[1]), int(found[2]), found[3] or "")
    return None


def unix_address(name: str) -> str:
    """The abstract address of a Unix socket of that name: one of ours, whatever somebody tells a
    client.
    """
    return f"\0milvine-lane-{name}"
