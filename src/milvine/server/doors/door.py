"""What a door is: it takes gRPC calls at an address and gives them to the operations. Two exist,
one contract.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from milvine.errors import OperatorError

Call = Callable[[str, bytes], bytes]
"""`Operations.call`: rpc name and request to reply; raises `Refused` for what gets a gRPC status
instead.
"""

Send = Callable[[bytes | None], object]
"""Takes the next message of a stream, or None for its end. Any thread may call it; it never blocks.
"""
Close = Callable[[], None]
"""The caller of a stream is gone."""
Stream = Callable[[bytes, Send], Close]
"""A call with a stream of answers: request and where to send them; raises `Refused`."""

REQUEST_ID = "request_id"
"""Key of the initial metadata that numbers the calls (specification 1.1)."""

INTERNAL_ERROR = "Error in service handler"
# What protobuf can hold, and so more than any request there can be.
MESSAGE_BYTES_MAX = (1 << 31) - 1
LONGEST_MESSAGE = 1 << 32  # what the head of a gRPC message can announce, true or not
PROBE_THREADS = 2
"""For health, which answers also while every other thread waits."""
# Calls served side by side: enough that waiting create_index and flush leave room for searches.
WAITING_CALLS_MAX = 64


class DoorFailed(OperatorError):
    """The address cannot be listened on, or the door's library is not installed."""

    @classmethod
    def busy(cls, address: str) -> DoorFailed:
        return cls(f"Cannot listen on {address}: the address is in use or not one of this machine")


class Door(Protocol):
    """Made listening, serves from `start` to `stop`.

    Where an error ends what takes the calls, `ended` says so: the process lives on,
    and nobody would notice.
    """

    name: str
    port: int

    @property
    def ended(self) -> str:
        """Why no more calls are taken, though nobody stopped it; empty before
        `start` and while they are."""

    def start(self) -> None:
        """Take calls."""

    def stop(self, grace: float | None) -> None:
        """Take no more calls, wait up to `grace` seconds for those in flight (None: as long as they
        take), hang up.
        """


def end_of(threads: Iterable[threading.Thread]) -> str:
    """Which of the threads of a door has ended; empty when all are alive, or were not started."""
    gone = [each.name for each in threads if each.ident is not None and not each.is_alive()]
    return f"the thread {gone[0]} has ended" if gone else ""


def tell_of_error() -> None:
    """Tells of the error being handled as Python tells of one that ends a
    thread, which goes on here."""
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


class GrpcPort(Door, Protocol):
    """`own_target`: what grpcio calls it from within this process."""

    own_target: str


def target(address: str, port: int) -> str:
    """`address:port`, an IPv6 address in brackets."""
    return (
        f"[{address}]:{port}"
        if ":" in address and not address.startswith("[")
        else f"{address}:{port}"
    )
