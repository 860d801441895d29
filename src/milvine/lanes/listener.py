"""The socket that takes the connections of lanes."""

from __future__ import annotations

import errno
import math
import selectors
import socket
import time

DEAF_SECONDS = 1.0
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Listener:
    """A listening TCP socket, watched by a selector. While the process is out of files, nobody is
    let in.

    Attributes:
        port: the TCP port.
        deaf_until: when to `resume`, on the monotonic clock; infinite while the socket is
            watched.
    """

    def __init__(self, listening: socket.socket, waiting: selectors.BaseSelector) -> None:
        listening.setblocking(False)
        self.port: int = listening.getsockname()[1]
        self._socket, self._waiting, self.deaf_until = listening, waiting, math.inf
        waiting.register(listening, selectors.EVENT_READ)

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> tuple[socket.socket, tuple[str, int]] | None:
        """A connection that waits, and its caller's address; None if there is none after all."""
        try:
            accepted, caller = self._socket.accept()
        except OSError as error:
            if error.errno in _OUT_OF_FILES:  # the caller goes on knocking
                self._waiting.unregister(self._socket)
                self.deaf_until = time.monotonic() + DEAF_SECONDS
            return None
        return accepted, caller[:2]

    def resume(self, now: float) -> None:
        """When `deaf_until` is over."""
        try:
            self._waiting.register(self._socket, selectors.EVENT_READ)
            self.deaf_until = math.inf
        except OSError:  # there is not even room for that
            self.deaf_until = now + DEAF_SECONDS

    def close(self) -> None:
        self._socket.close()
