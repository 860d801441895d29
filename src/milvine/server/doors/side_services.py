"""What a gRPC port serves beside the operations of the database: health, and reflection where it is
installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milvine.events import Events
from milvine.events.server import Stopping
from milvine.server.doors import reflection
from milvine.server.doors.door import Call, Stream
from milvine.server.health import Health
from milvine.server.tracing.opening import Observe, Tracing
from milvine.wire.health import CHECK, WATCH


class SideServices:
    """Made once for a server; `events` tell it of the end. With `tracing`, doors tell it whose call
    comes next.

    Attributes:
        rpcs: paths of calls with one answer, served by `call`.
        streams: by path, calls with a stream of answers.
        handlers: grpcio's own, for what both doors leave to grpcio.
        observe: what the doors tell; None where nobody wants to know.
    """

    def __init__(self, health: Health, events: Events, tracing: Tracing | None = None) -> None:
        self.health, self._tracing = health, tracing
        self.observe: Observe | None = tracing.observe if tracing else None
        self.rpcs = (CHECK,)
        self.streams: Mapping[str, Stream] = {WATCH: health.watch}
        self.handlers: tuple[Any, ...] = ()
        events.subscribe(health.listen, (Stopping,))
        if reflection.installed():
            shown = reflection.Reflection()
            self.handlers = shown.handlers
            events.subscribe(shown.listen, (Stopping,))

    def call(self, call: Call) -> Call:
        """`call`, with the calls served here before it."""
        check = self.health.check

        def serve(rpc: str, request: bytes) -> bytes:
            return check(request) if rpc == CHECK else call(rpc, request)

        return serve

    def close(self) -> None:
        """When the last call is answered."""
        if self._tracing:
            self._tracing.close()
