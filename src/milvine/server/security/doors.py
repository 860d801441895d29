"""What a gRPC door is given to keep strangers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from milvine.server.doors.door import MESSAGE_BYTES_MAX, WAITING_CALLS_MAX
from milvine.server.security.gate import Gate

STREAMS_MAX = 1024


@dataclass(frozen=True, slots=True)
class DoorSecurity:
    """`gate` looks at every call; `credentials` are grpcio's own, for TLS; `streams_max` is for one
    connection.

    grpcio's door receives no message of more than `message_bytes_max` bytes, also when it is
    unpacked, and reads those of at most `inserts_max` inserts side by side: where memory is short,
    others wait with theirs on their side.
    """

    gate: Gate | None = None
    credentials: Any = None
    streams_max: int = STREAMS_MAX
    message_bytes_max: int = MESSAGE_BYTES_MAX
    inserts_max: int = WAITING_CALLS_MAX


OPEN_DOOR = DoorSecurity()
