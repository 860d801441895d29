"""Whether there is an HTTP door, and which: what needs the extra `server` is imported when it is
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from milvine.config import Configuration, Settings
from milvine.config.sources import ENVIRONMENT, FLAG
from milvine.engine.database import Database
from milvine.events import Events
from milvine.events.server import HttpMissing
from milvine.server.doors.door import Door, DoorFailed
from milvine.server.doors.side_services import SideServices
from milvine.server.operations import Operations
from milvine.server.security.opening import Security
from milvine.server.tracing.opening import TracedApp

_NEEDED = ("fastapi", "uvicorn", "orjson")
_ASKED_BY = ("network.http.enable", "network.http.port", "network.http.address")
HOW_TO_GET_IT = "pip install 'milvine[server]'"


def open_http_door(
    operations: Operations,
    database: Database,
    settings: Settings,
    configuration: Configuration | None,
    events: Events,
    side: SideServices,
    routers: Sequence[Any] = (),
    security: Security | None = None,
) -> Door | None:
    """The REST API with the probes of `side` and `routers`, listening at `settings.http_address`
    and `.http_port`.

    None where off.

    Without the extra `server` there is none either, which is told; unless a flag or the environment
    asks for it. Where gRPC takes any free port, HTTP does not insist on its default port.

    Raises:
        DoorFailed: the address is in use, or the packages are missing and the door was asked for.
    """
    if not settings.http_enable:
        return None
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        reason = f"The REST API needs {', '.join(missing)}: {HOW_TO_GET_IT}"
        if _asked_for(configuration):
            raise DoorFailed(reason)
        events.emit(HttpMissing(reason))
        return None
    probes = import_module("milvine.server.rest.endpoints.health").health_router(side.health)
    app = import_module("milvine.server.rest.app").create_app(
        operations, database, settings, (probes, *routers), security.gate if security else None
    )
    traced = TracedApp(app, side.observe) if side.observe else app
    any_port = settings.port == 0 and settings.http_port == Settings().http_port
    port = 0 if any_port else settings.http_port
    tls = security.certificates.for_http() if security and security.certificates else None
    door: Door = import_module("milvine.server.doors.http_door").HttpDoor(
        traced, settings.http_address, port, tls, settings.http_connections_max
    )
    return door


def _asked_for(configuration: Configuration | None) -> bool:
    values = configuration.values if configuration else {}
    return any(values[key].origin.kind in (FLAG, ENVIRONMENT) for key in _ASKED_BY if key in values)
