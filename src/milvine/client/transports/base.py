"""The one seam of the client: bytes out, bytes in. Everything above it is the same for a server, a
folder or a test.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from milvine.client.exceptions import NotConnectError
from milvine.client.exceptions import TransportFailed as TransportFailed
from milvine.deadline import Deadline
from milvine.types import Ids, Vectors
from milvine.wire.packed import HitsReply, IdsReply

STARTING_SECONDS = 10.0
"""How long a server that refuses, and never answered this client, may be one that is just starting.
"""
SILENCE = "No answer: the host is down, drops what is sent to it, or its server hangs"
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 1.0


def patience(wait_timeout: float, answered: bool) -> float:
    """Seconds for which a server that refuses is asked again; more where it
    has `answered` before."""
    return wait_timeout if answered else min(wait_timeout, STARTING_SECONDS)


def attempts(least: int, patience: float, deadline: Deadline) -> Iterator[None]:
    """One pass for each attempt at a server that refuses, none after the `deadline` but the first.

    At least `least`, then until `patience` seconds are over.
    """
    end, pause = time.monotonic() + patience, _FIRST_PAUSE
    yield
    done = 1
    while done < least or time.monotonic() < end:
        time.sleep(deadline.within(pause))
        if deadline.over():
            return
        pause = min(pause * 2, _LAST_PAUSE)
        yield
        done += 1


def nobody(address: object, attempts: int, seconds: float, reason: str) -> NotConnectError:
    """The error of a client that found no server in so many attempts and seconds. It begins with
    the words of 1.x (specification 5.2); `reason` is what the last attempt met.
    """
    tried = f"{attempts} attempt{'s' if attempts > 1 else ''} in {seconds:.1f} seconds"
    return NotConnectError(
        f"Fail connecting to server on {address}. Timeout: {tried}. {reason or SILENCE}"
    )


class Transport(Protocol):
    """Carries calls of `milvus.grpc.MilvusService`. May be used from several threads at once."""

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        """The reply of an rpc, named as in `Insert`. `timeout` in seconds for all that is
        tried; None waits for ever, and with 0 the time is over: nothing is sent.

        Raises:
            TransportFailed: no reply: deadline, connection lost, rpc unknown to the server.
            NotConnectError: nobody is there to take the request.
        """

    def close(self) -> None:
        """Releases what the transport holds. May be called again."""


class InProcess(Protocol):
    """A transport that has the database in its own process: arrays need not be encoded."""

    def insert(
        self, collection: str, vectors: Vectors, ids: Ids | None, tag: str, key: str
    ) -> IdsReply:
        """As the call Insert. The arrays are the caller's, and are copied."""

    def search(
        self,
        collection: str,
        vectors: Vectors,
        topk: int,
        tags: Sequence[str],
        params: Mapping[str, Any],
    ) -> HitsReply:
        """As the call Search."""
