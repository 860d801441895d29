"""Sockets that doors take connections at."""

from __future__ import annotations

import socket
import sys

from milvine.server.doors.door import DoorFailed, target


def listen(address: str, port: int, waiting_max: int) -> socket.socket:
    """A TCP socket that takes connections; `waiting_max`: how many may wait to be
    accepted. `::` takes IPv4, too.

    What it accepts knows that it is TCP: asyncio sets TCP_NODELAY on nothing else, and
    without that an answer of two writes waits for the acknowledgement of its first, which
    clients put off for 40 ms.

    Raises:
        DoorFailed: the address is taken or not ours.
    """
    host = address.strip("[]")
    made = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    try:
        if sys.platform != "win32":  # where it would let two servers have one port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if made.family == socket.AF_INET6:
            both = host == "::" and socket.has_dualstack_ipv6()
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        made.bind((host, port))
        made.listen(waiting_max)
    except (OSError, OverflowError):
        made.close()
        raise DoorFailed.busy(target(address, port)) from None
    return made
