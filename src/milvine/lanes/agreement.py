"""What both ends of a lane agree on: which calls it carries, and how a client learns where one
begins.

A lane is an HTTP/2 connection for one call at a time (`lanes/http2.py`). Every gRPC port carries
lanes, for they are plain HTTP/2. A server of ours may have a port for lanes alone, where no thread
stands between the socket and the search; the command `lanes` tells which.
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
_ANSWER = re.compile(r"lane ([0-9]{1,5}) ([0-9]{1,10})")


class Endpoint(NamedTuple):
    """A server's gRPC port as a client knows it.

    `authority` is host and port as HTTP writes them; `authorization` the value of that header,
    empty for none.
    """

    host: str
    port: int
    authority: str
    authorization: str = ""


class LaneAddress(NamedTuple):
    """A port for lanes, and the number of this run of the server."""

    port: int
    instance: int


def answer_with(address: LaneAddress) -> str:
    """The answer to the command."""
    return f"lane {address.port} {address.instance}"


def address_of(answer: str) -> LaneAddress | None:
    """The address in an answer; None where it names no port."""
    found = _ANSWER.fullmatch(answer)
    if found and int(found[1]) < 1 << 16 and int(found[2]) < 1 << 32:
        return LaneAddress(int(found[1]), int(found[2]))
    return None
