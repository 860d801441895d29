"""Prometheus metrics: a listener that counts events, collectors that read the rest when somebody
scrapes.

The substance, in `serving.py`, needs the extra `server` (prometheus-client, psutil) and is imported
when it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Events
from milvine.events.server import MetricsMissing

_NEEDED = ("prometheus_client", "psutil", "fastapi")


class OpenMetrics(Protocol):
    """The metrics of a running server. `routers` are FastAPI routers for its HTTP door."""

    @property
    def routers(self) -> Sequence[Any]: ...

    def stop(self) -> None: ...


def open_metrics(
    database: Database,
    in_flight: Callable[[], tuple[int, int]],
    settings: Settings,
    events: Events,
    port: int,
) -> OpenMetrics | None:
    """Metrics, if they are pushed or there is an HTTP door to ask; otherwise None, and nothing is
    computed.

    None as well without the extra `server`, which is told when `metric.enable` asks for them.

    Args:
        in_flight: tells how many requests are being answered, and their bytes.
        port: requests are taken at it.
    """
    if not (settings.http_enable or settings.metric_enable):
        return None
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        if settings.metric_enable:
            events.emit(
                MetricsMissing(f"it needs {', '.join(missing)}: pip install 'milvine[server]'")
            )
        return None
    serving = import_module("milvine.server.metrics.serving")
    metrics: OpenMetrics = serving.Metrics.start(database, in_flight, settings, events, port)
    return metrics
