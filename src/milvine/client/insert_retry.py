"""Sending an insert again whose reply was lost, so that it is stored once.

Only a server that remembers the keys of inserts is asked again; one of 1.x would store the rows
twice, and its caller is told that no reply came, as ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from milvine.client import requests
from milvine.client.exceptions import NotConnectError
from milvine.client.transports import Transport, TransportFailed
from milvine.wire import packed, schema

_PAUSES = (0.1, 0.4, 1.6)
"""Seconds before each attempt after the first. The transport waits too, for a server that is being
started again.
"""
_FEATURES = requests.command(packed.FEATURES)
_FEATURES_SECONDS = 5.0


def insert(
    transport: Transport,
    request: bytes,
    timeout: float | None,
    pauses: Sequence[float] = _PAUSES,
) -> bytes:
    """The reply to Insert. `request` has an idempotency key; `timeout` (seconds) bounds all
    attempts together: the first, and one after each of the `pauses`.

    Raises:
        TransportFailed: no reply: of the first attempt, where the others found nobody.
        NotConnectError: nobody took the first attempt.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        return transport.call("Insert", request, timeout)
    except TransportFailed as error:
        if not error.lost:
            raise
        first = error
    for left in _attempts(deadline, pauses):
        with suppress(NotConnectError):
            try:
                if not _remembers(transport, left):
                    break
                return transport.call("Insert", request, left)
            except TransportFailed as another:
                if not another.lost and not another.unsent:
                    raise
    raise first


def _attempts(deadline: float | None, pauses: Sequence[float]) -> Iterator[float | None]:
    """After each pause, the seconds that are left; an end when there are none."""
    for pause in pauses:
        if deadline is not None and time.monotonic() + pause >= deadline:
            return
        time.sleep(pause)
        yield None if deadline is None else deadline - time.monotonic()


def _remembers(transport: Transport, left: float | None) -> bool:
    """Whether the server knows the key of an insert."""
    limit = _FEATURES_SECONDS if left is None else min(left, _FEATURES_SECONDS)
    reply = packed.parse(schema.StringReply, transport.call("Cmd", _FEATURES, limit))
    return packed.IDEMPOTENCY_KEY in reply.string_reply.split()
