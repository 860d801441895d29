"""Asking the gRPC port as a caller would: that its process lives says nothing of it."""

from __future__ import annotations

import threading
import time

import grpc

from milvine.server.doors.door import target
from milvine.wire import health
from milvine.wire.health import CHECK

DEAD_SECONDS = 30.0
"""For so long a port may leave us without an answer before it is taken for dead."""
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_REQUEST = bytes(health.HealthCheckRequest(service=health.SERVICE).SerializeToString())


class DoorProbe:
    """Calls `Health/Check` at `target`, over one connection, whoever asks and however often:
    an answer counts for `fresh_seconds`, and one that takes `deadline_seconds` is none.

    The service asked about is the health service itself, which answers without
    a look at the database.
    """

    def __init__(
        self, target: str, fresh_seconds: float = 1.0, deadline_seconds: float = 3.0
    ) -> None:
        self._target, self._lock = target, threading.Lock()
        self._fresh_seconds, self._deadline_seconds = fresh_seconds, deadline_seconds
        self._channel: grpc.Channel | None = None
        self._closed = False
        self._asked, self._reason = float("-inf"), ""
        self._silent_since = float("inf")

    def trouble(self) -> str:
        """Why calls at the port are not answered; empty when they are."""
        with self._lock:
            if time.monotonic() >= self._asked + self._fresh_seconds:
                self._reason = self._ask()
                self._asked = time.monotonic()
                self._silent_since = (
                    min(self._silent_since, self._asked) if self._reason else float("inf")
                )
            return self._reason

    def dead(self) -> str:
        """As `trouble`, when it has been so for `DEAD_SECONDS`: a port that is busy
        for a moment is alive."""
        reason = self.trouble()
        return reason if time.monotonic() >= self._silent_since + DEAD_SECONDS else ""

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._channel:
                self._channel.close()

    def _ask(self) -> str:
        if self._closed:
            return ""
        self._channel = self._channel or grpc.insecure_channel(self._target, options=_OPTIONS)
        try:
            self._channel.unary_unary(CHECK)(_REQUEST, timeout=self._deadline_seconds)
        except grpc.RpcError as error:
            return f"Calls at the gRPC port are not answered: {error.code().name}"
        return ""


def own_target(address: str, port: int) -> str:
    """The target under which this process reaches what listens at `address`."""
    return target({"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(address, address), port)
