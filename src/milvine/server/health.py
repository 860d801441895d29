"""Whether the server takes requests: one answer for `/readyz` and for gRPC's own health service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from milvine.errors import MilvineError
from milvine.events import Event
from milvine.events.server import Stopping
from milvine.server.doors.door import Close, Door, Send
from milvine.server.doors.door_probe import DoorProbe
from milvine.server.operations import GrpcStatus, MalformedRequest, Refused
from milvine.wire import health, schema
from milvine.wire.health import ServingStatus
from milvine.wire.packed import Malformed, parse

WATCHERS_MAX = 16
"""With the grpcio door every watcher holds one of the threads that serve calls."""
_SERVICES = frozenset({"", schema.SERVICE, health.SERVICE})
_REQUEST_BYTES_MAX = 4096
_STOPPING = "The server is stopping"


class Health:
    """`check` raises a MilvineError when the database is not ready (`Database.check_ready`).

    Subscribe `listen` to the events: the server is not serving from the event Stopping on.
    `vouch_for` says which doors are meant; who asks over HTTP is also told whether calls at
    the gRPC port are answered.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check_ready = check
        self._stopping = False
        self._doors: Sequence[Door] = ()
        self._probe: DoorProbe | None = None
        self._watchers: dict[int, tuple[Send, bool]] = {}  # told of changes, or of the end alone
        self._numbers = 0
        self._said = ServingStatus.SERVING
        self._lock = threading.Lock()

    def vouch_for(self, doors: Sequence[Door], probe: DoorProbe) -> None:
        """From now on answers are about these doors, too; `probe` asks through the gRPC port."""
        self._doors, self._probe = doors, probe

    def unanswered(self) -> str:
        """Why calls at the gRPC port are not answered; empty when they are. For who
        does not ask through it."""
        return self._probe.trouble() if self._probe and not self._stopping else ""

    def ended(self) -> str:
        """Which door takes no more calls, though the server is not stopping, and
        why; empty when all do."""
        dead = [f"The {door.name} door is dead: {door.ended}" for door in self._doors if door.ended]
        return dead[0] if dead and not self._stopping else ""

    def dead(self) -> str:
        """Why nothing but another start will help; empty when this process is of use.
        For who asks over HTTP."""
        return self.ended() or (self._probe.dead() if self._probe and not self._stopping else "")

    def trouble(self) -> str:
        """Why requests cannot be expected to succeed; empty when they can. Watchers are told of a
        change.
        """
        reason = _STOPPING if self._stopping else self.ended()
        if not reason:
            try:
                self._check_ready()
            except MilvineError as error:
                reason = str(error)
        self._tell(ServingStatus.NOT_SERVING if reason else ServingStatus.SERVING)
        return reason

    def listen(self, event: Event) -> None:
        """At the end, tell those who watch, and end their streams."""
        if not isinstance(event, Stopping):
            return
        self._stopping = True
        self._tell(ServingStatus.NOT_SERVING)
        with self._lock:
            watchers = list(self._watchers.values())
            self._watchers.clear()
        for send, _ in watchers:
            send(None)

    def check(self, request: bytes) -> bytes:
        """`Health/Check`: HealthCheckRequest -> HealthCheckResponse.

        Raises:
            Refused: NOT_FOUND, for a service that is not served here.
            MalformedRequest: the bytes are no such request.
        """
        service = _service(request)
        if service not in _SERVICES:
            raise Refused(GrpcStatus.NOT_FOUND, f"Unknown service: {service}")
        if service == health.SERVICE and not self._stopping:  # that this is answered is the answer
            return _response(ServingStatus.SERVING)
        return _response(ServingStatus.NOT_SERVING if self.trouble() else ServingStatus.SERVING)

    def watch(self, request: bytes, send: Send) -> Close:
        """`Health/Watch`: sends the status now, and again whenever it has changed. The result ends
        it.

        A change is noticed at the end of the server, and when somebody asks: `Check` or `/readyz`.

        Raises:
            Refused: RESOURCE_EXHAUSTED, with too many watchers.
            MalformedRequest: the bytes are no such request.
        """
        if _service(request) not in _SERVICES:
            close = self._add(send, notified=False)
            send(_response(ServingStatus.SERVICE_UNKNOWN))
            return close
        status = ServingStatus.NOT_SERVING if self.trouble() else ServingStatus.SERVING
        close = self._add(send, notified=True)
        send(_response(status))
        if self._stopping:
            send(None)
        return close

    def _add(self, send: Send, notified: bool) -> Close:
        with self._lock:
            if len(self._watchers) >= WATCHERS_MAX:
                raise Refused(
                    GrpcStatus.RESOURCE_EXHAUSTED,
                    f"{WATCHERS_MAX} clients watch the health already",
                )
            self._numbers += 1
            number = self._numbers
            self._watchers[number] = send, notified

        def close() -> None:
            with self._lock:
                self._watchers.pop(number, None)

        return close

    def _tell(self, status: ServingStatus) -> None:
        with self._lock:
            changed, self._said = status != self._said, status
            watchers = (
                [send for send, notified in self._watchers.values() if notified] if changed else []
            )
        for send in watchers:
            send(_response(status))


def _service(request: bytes) -> str:
    if len(request) > _REQUEST_BYTES_MAX:
        raise MalformedRequest.undecodable(
            f"{len(request)} bytes are too many for the name of a service"
        )
    try:
        return str(parse(health.HealthCheckRequest, request).service)
    except Malformed as error:
        raise MalformedRequest.undecodable(str(error)) from None


def _response(status: ServingStatus) -> bytes:
    return bytes(health.HealthCheckResponse(status=int(status)).SerializeToString())
