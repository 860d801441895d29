"""The metrics of one server: a registry, its collectors, a Pushgateway's thread and the sampler of
recall.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from milvine import __version__
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Events
from milvine.server.metrics.host import HostCollector
from milvine.server.metrics.routes import metrics_router, progress_router
from milvine.server.metrics.sizes import ScanSizes
from milvine.server.metrics.state import DatabaseCollector
from milvine.server.metrics.tally import Tally

if TYPE_CHECKING:
    from milvine.server.metrics.push import Pusher
    from milvine.server.metrics.recall import RecallSampler


class Metrics:
    """Made by `start`, ended by `stop`. Nothing of it is shared with another server in the
    process.
    """

    def __init__(self, registry: CollectorRegistry, database: Database) -> None:
        self.registry = registry
        self.routers: tuple[APIRouter, ...] = (metrics_router(registry), progress_router(database))
        self._pusher: Pusher | None = None
        self._sampler: RecallSampler | None = None

    @classmethod
    def start(
        cls,
        database: Database,
        in_flight: Callable[[], tuple[int, int]],
        settings: Settings,
        events: Events,
        port: int,
    ) -> Metrics:
        """Listen to `events`, and push if `metric.enable` says so.

        Args:
            in_flight: requests being answered, and their bytes.
            port: requests are taken at it, and at `network.http.port`.
        """
        registry, tally = CollectorRegistry(), Tally(ScanSizes(database))
        ports = frozenset((port, settings.http_port))
        metrics = cls(registry, database)
        collectors: list[Collector] = [
            _Version(),
            DatabaseCollector(database, in_flight),
            HostCollector(ports),
            tally,
        ]
        if settings.recall_sample_share > 0:
            recall = import_module("milvine.server.metrics.recall")  # few ask for it
            sampler: RecallSampler = recall.RecallSampler(settings.recall_sample_share)
            metrics._sampler = sampler
            database.watch_searches(sampler.offer)
            collectors.append(sampler)
        for collector in collectors:
            registry.register(collector)
        ProcessCollector(registry=registry)
        events.subscribe(tally.listen)
        if settings.metric_enable:
            gateway = f"{settings.metric_address}:{settings.metric_port}"
            push = import_module("milvine.server.metrics.push")  # most have no gateway
            grouping = push.grouping_of(settings, port)
            metrics._pusher = push.Pusher(registry, gateway, grouping, events)
        return metrics

    def stop(self) -> None:
        """End the threads; the last numbers are pushed."""
        for part in (self._sampler, self._pusher):
            if part is not None:
                part.stop()


class _Version(Collector):
    def collect(self) -> list[Metric]:
        return [InfoMetricFamily("milvine", "The running server", {"version": __version__})]
