"""Heads of HTTP requests: how large they may be, and how long they may take. uvicorn bounds neither
everywhere.
"""

from __future__ import annotations

from typing import Any

HEAD_BYTES_MAX = 64 << 10
HEAD_SECONDS = 20.0
"""Also how long a connection may be open before its first request. Between requests uvicorn waits 5
seconds.
"""


def with_bounded_heads(protocol: Any) -> Any:
    """A subclass of one of uvicorn's protocols that hangs up on who sends a longer head, or sends
    it slower.
    """

    class Bounded(protocol):  # type: ignore[misc]
        _head_bytes = 0
        _head_timer: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            awaited = before is None or before.response_complete
            super().data_received(data)
            if self.cycle is not before:
                self._head_came()
            elif awaited:
                self._head_bytes += len(data)
                if self._head_timer is None:
                    self._await_head()
                if self._head_bytes > HEAD_BYTES_MAX:
                    self.transport.close()

        def _await_head(self) -> None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

        def _head_came(self) -> None:
            self._head_bytes = 0
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return Bounded
