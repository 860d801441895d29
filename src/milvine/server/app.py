"""The composition root of the server: everything concrete is chosen here."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

from milvine.config import Configuration, Settings
from milvine.engine.database import Database
from milvine.events import Events, JobFailed
from milvine.events.server import Serving, Stopping
from milvine.lanes.agreement import COMMAND, answer_with
from milvine.memory_plan import UNBOUNDED, MemoryPlan, plan_here
from milvine.server.doors.door import LONGEST_MESSAGE, Door, DoorFailed, GrpcPort, target
from milvine.server.doors.door_probe import DoorProbe
from milvine.server.doors.grpc_door import GrpcDoor
from milvine.server.doors.http_opening import open_http_door
from milvine.server.doors.lane_door import LaneDoor
from milvine.server.doors.side_services import SideServices
from milvine.server.health import Health
from milvine.server.memory import LEAVES_MEMORY, bound_free_memory, can_promise, trim_after_flush
from milvine.server.metrics import OpenMetrics, open_metrics
from milvine.server.operations import SERVED, Operations
from milvine.server.operations.query_batching import answer_searches
from milvine.server.preloading import preload_collections
from milvine.server.security.doors import OPEN_DOOR, DoorSecurity
from milvine.server.security.opening import Security, is_loopback, tell_if_open
from milvine.server.tracing.opening import open_tracing
from milvine.wire.schema import HYBRID_RPCS

_DECLARED = (*SERVED, *HYBRID_RPCS)  # a door refuses what it does not know in words of its own


class Server:
    """A database and a door in front of it. Made by `start`, ended by `stop`, which may be called
    again.
    """

    def __init__(
        self, database: Database, door: Door, address: str, events: Events, side: SideServices
    ) -> None:
        self._database, self._door, self._events, self._side = database, door, events, side
        self.address = target(address, door.port)
        self._stopped = False
        self._metrics: OpenMetrics | None = None
        self._http: Door | None = None
        self._lane: Door | None = None
        self._probe: DoorProbe | None = None
        self.http_address = ""  # empty where the REST API is not served

    @classmethod
    def start(
        cls,
        folder: str | Path,
        settings: Settings | None = None,
        events: Events | None = None,
        configuration: Configuration | None = None,
    ) -> Server:
        """Open `folder` and take requests at `settings.address` and `.port` (0: any free port; see
        `port`).

        `configuration` is what get_config tells and where set_config writes; without one, that of
        `settings`.

        Raises:
            DataFolderLocked, UnsupportedFormat, CorruptFile, StorageFailed: as `Database.open`.
            PreloadFailed: a collection of `cache.preload_collection` cannot be loaded.
            DoorFailed: the address is in use, or the door asked for is not installed.
            TracingFailed: traces are asked for and what they need is not installed.
            TokensUnusable, TlsUnusable: a file of `network.tokens_file` or `network.tls.*` cannot
                be used.
        """
        settings, events = settings or Settings(), Events() if events is None else events
        plan = plan_here(settings)
        bound_free_memory(plan)
        security = Security.open(settings, events)
        events.subscribe(trim_after_flush(), LEAVES_MEMORY)
        tracing = open_tracing(settings, events)
        reads = settings.cluster_enable and settings.cluster_role == "ro"
        database = Database.open(folder, settings, events, reads, plan)
        operations = Operations(database, settings, events, configuration)
        side = SideServices(Health(database.check_ready), events, tracing)
        try:
            preload_collections(database, settings.preload_collection)
            door = open_door(operations, settings, side, security.for_grpc(), plan)
        except BaseException:
            database.close()
            raise
        server = cls(database, door, settings.address, events, side)
        server._metrics = open_metrics(database, operations.in_flight, settings, events, door.port)
        routers = server._metrics.routers if server._metrics else ()
        try:
            server._lane = lane = open_lane_door(operations, settings, side, security, plan)
            http = open_http_door(
                operations, database, settings, configuration, events, side, routers, security
            )
        except BaseException:
            server.stop(0)
            raise
        door.start()
        events.emit(Serving(server.address, door.name))
        if lane:
            lane.start()
            events.emit(Serving(target(settings.address, lane.port), lane.name))
        server._probe = DoorProbe(door.own_target)
        side.health.vouch_for([each for each in (door, lane, http) if each], server._probe)
        tell_if_open(settings, events, settings.address, *([settings.http_address] if http else ()))
        if http:
            server._serve_http(http, settings.http_address)
        return server

    def _serve_http(self, door: Door, address: str) -> None:
        self._http, self.http_address = door, target(address, door.port)
        door.start()
        self._events.emit(Serving(self.http_address, door.name))

    @property
    def port(self) -> int:
        """The port that requests are taken at."""
        return self._door.port

    @property
    def lane_port(self) -> int | None:
        """The port that lanes begin at; None where they have none of their own."""
        return self._lane.port if self._lane else None

    def look_after(self) -> bool:
        """Whether this process is of no more use: a door died of an error. It is logged;
        stop and start it again."""
        reason = self._side.health.ended()
        if reason:
            self._events.emit(JobFailed("serving", reason))
        return bool(reason)

    def stop(self, grace: float | None = None) -> None:
        """Take no more requests, let those in flight finish (at most `grace` seconds), flush the
        tail, close.
        """
        if self._stopped:
            return
        self._stopped = True
        self._events.emit(Stopping())
        end = None if grace is None else time.monotonic() + grace
        try:
            if self._probe:
                self._probe.close()
            # Lanes' callers go on at the gRPC port, which ends last.
            for door in (self._http, self._lane, self._door):
                if door:
                    door.stop(None if end is None else max(0.0, end - time.monotonic()))
            if self._metrics:
                self._metrics.stop()
        finally:
            self._database.close()
            self._side.close()


def open_lane_door(
    operations: Operations,
    settings: Settings,
    side: SideServices,
    security: Security,
    plan: MemoryPlan,
) -> LaneDoor | None:
    """The port for lanes, listening, and told to clients that ask; None where there is to be none.

    Raises:
        DoorFailed: the port asked for is in use.
    """
    automatic = settings.lane_port == "auto"
    unwanted = settings.lane_port == "off" or (automatic and not is_loopback(settings.address))
    if unwanted or security.certificates:
        return None
    # A trace is of one call.
    answer_batch = None if side.observe else partial(answer_searches, operations)
    port = 0 if automatic else int(settings.lane_port)
    try:
        door = LaneDoor(
            operations.call,
            answer_batch,
            settings.address,
            port,
            side.observe,
            security.gate,
            plan.unsent_replies,
        )
    except DoorFailed:
        if automatic:  # nobody asked for it
            return None
        raise
    operations.server_answers[COMMAND] = answer_with(door.address)
    return door


def open_door(
    operations: Operations,
    settings: Settings,
    side: SideServices | None = None,
    security: DoorSecurity = OPEN_DOOR,
    plan: MemoryPlan = UNBOUNDED,
) -> GrpcPort:
    """The door that the settings ask for, listening; it serves the `side` services, too.

    Raises:
        DoorFailed: the address is in use, or pygrpc-native is asked for and not installed, or asked
            for TLS.
    """
    if settings.door == "native" and security.credentials is not None:
        raise DoorFailed("The door `native` has no TLS. Take `network.door: auto` or `grpc`")
    installed = importlib.util.find_spec("pygrpc_native") is not None
    if settings.door == "native" and not installed:
        raise DoorFailed(
            "The door `native` needs the package pygrpc-native: pip install 'milvine[native]'"
        )
    call = side.call(operations.call) if side else operations.call
    rpcs = (*_DECLARED, *side.rpcs) if side else _DECLARED
    security = replace(
        security,
        message_bytes_max=settings.request_bytes_max,
        inserts_max=plan.inserts_at_once,
    )
    more = (*((side.streams, side.handlers, side.observe) if side else (None, (), None)), security)
    # The native door takes messages of any size, and unpacks them: it is for clients that are
    # trusted with memory.
    trusted = is_loopback(settings.address) and can_promise(LONGEST_MESSAGE)
    if (
        settings.door == "grpc"
        or not installed
        or (settings.door == "auto" and not trusted)
        or security.credentials is not None
    ):
        return GrpcDoor(call, rpcs, settings.address, settings.port, *more)
    native_door = import_module("milvine.server.doors.native_door")
    traced = side is not None and side.observe is not None  # a trace is of one call
    answer_batch = None if traced else partial(answer_searches, operations)
    native: GrpcPort = native_door.NativeDoor(
        call, rpcs, settings.address, settings.port, *more, answer_batch
    )
    return native
