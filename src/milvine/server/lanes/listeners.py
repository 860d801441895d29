"""Where lanes begin: a TCP port and, for callers of this machine, a Unix socket, which costs both
ends less.

The Unix socket has an abstract name (Linux alone has them): there is no file that could be left
over, and it is reached from the same network namespace as a loopback address, so by whoever reaches
the port.
"""

from __future__ import annotations

import errno
import math
import secrets
import selectors
import socket
import sys
import time

from milvine.server.doors.door import target
from milvine.server.doors.listening import listen
from milvine.wire import lanes

_DEAF_SECONDS = 1.0
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_WAITING_MAX = 128  # connections that nobody has accepted yet
_WAITING_LOCALLY_MAX = 1024  # further ones are refused at once, where those at a port knock again


class Listeners:
    """Sockets that take connections, watched by a selector. While the process is out of files,
    nobody is let in.

    Attributes:
        port: the TCP port.
        unix: name of the Unix socket, as `wire/lanes.py` has it; empty where there is none.
        deaf_until: when to `listen_again`, on the monotonic clock; infinite while every socket is
            watched.

    Raises:
        DoorFailed: the address is taken or not ours.
    """

    def __init__(
        self, address: str, port: int, local: bool, waiting: selectors.BaseSelector
    ) -> None:
        by_tcp = listen(address, port, _WAITING_MAX)
        by_tcp.setblocking(False)
        self.port: int = by_tcp.getsockname()[1]
        self._loopback = "::1" if by_tcp.family == socket.AF_INET6 else "127.0.0.1"
        self.unix, by_name = listen_locally() if local else ("", None)
        self._sockets = {each.fileno(): each for each in (by_tcp, by_name) if each is not None}
        self._waiting, self._deaf, self.deaf_until = waiting, list(self._sockets.values()), math.inf
        self._watch()

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._sockets

    def accept(self, descriptor: int) -> tuple[socket.socket, str] | None:
        """A connection that waits at one of the sockets, and its caller's address; None if there is
        none after all.
        """
        listener = self._sockets[descriptor]
        try:
            accepted, caller = listener.accept()
        except OSError as error:
            if error.errno in _OUT_OF_FILES:  # the caller goes on knocking
                self._waiting.unregister(listener)
                self._deaf.append(listener)
                self.deaf_until = time.monotonic() + _DEAF_SECONDS
            return None
        return accepted, self._loopback if self._is_local(listener) else target(*caller[:2])

    def listen_again(self, now: float) -> None:
        """When `deaf_until` is over."""
        try:
            self._watch()
            self.deaf_until = math.inf
        except OSError:  # there is not even room for that
            self.deaf_until = now + _DEAF_SECONDS

    def _watch(self) -> None:
        while self._deaf:
            self._waiting.register(self._deaf[-1], selectors.EVENT_READ)
            self._deaf.pop()

    def _is_local(self, listener: socket.socket) -> bool:
        return listener.family not in (socket.AF_INET, socket.AF_INET6)

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()


def listen_locally() -> tuple[str, socket.socket | None]:
    """A new name, and the Unix socket that takes connections there; nothing where the system has no
    such names.
    """
    if sys.platform == "linux":
        name = secrets.token_hex(lanes.UNIX_BYTES)
        try:
            listener = socket.socket(socket.AF_UNIX)
        except OSError:
            return "", None
        try:
            listener.bind(lanes.unix_address(name))
            listener.listen(_WAITING_LOCALLY_MAX)
            listener.setblocking(False)
            return name, listener
        except OSError:
            listener.close()
    return "", None
