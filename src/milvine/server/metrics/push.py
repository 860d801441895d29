"""Pushing to a Pushgateway, as 1.x did: every second, as the job `milvus_metrics`, grouped by
cluster and instance.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from prometheus_client import CollectorRegistry, push_to_gateway

from milvine.config import Settings
from milvine.events import Events
from milvine.events.server import PushFailed, PushResumed

JOB = "milvus_metrics"
PERIOD_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0


class Pusher:
    """A thread that pushes what `registry` collects, until `stop`. A gateway that is not there is
    told once.
    """

    def __init__(
        self, registry: CollectorRegistry, address: str, grouping: dict[str, str], events: Events
    ) -> None:
        self._registry, self._address, self._grouping, self._events = (
            registry,
            address,
            grouping,
            events,
        )
        # Straight to the gateway, whatever proxy there is for the web.
        self._opener = build_opener(ProxyHandler({}))
        self._ending = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="milvine-push", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Push what came last, then end."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(PERIOD_SECONDS)
            self._push()

    def _push(self) -> None:
        try:
            push_to_gateway(
                self._address, JOB, self._registry, self._grouping, _TIMEOUT_SECONDS, self._handler
            )
        except Exception as error:
            # A gateway may answer anything; whatever it was, the next second is another try.
            if not self._failing:
                self._events.emit(PushFailed(self._address, str(error) or type(error).__name__))
            self._failing = True
            return
        if self._failing:
            self._events.emit(PushResumed(self._address))
        self._failing = False

    def _handler(
        self,
        url: str,
        method: str,
        timeout: float | None,
        headers: list[tuple[str, str]],
        data: bytes,
    ) -> Callable[[], None]:
        return lambda: _send(
            self._opener, Request(url, data, dict(headers), method=method), timeout
        )


def _send(opener: OpenerDirector, request: Request, timeout: float | None) -> None:
    with opener.open(request, timeout=timeout) as answer:
        answer.read()


def grouping_of(settings: Settings, port: int) -> dict[str, str]:
    """The labels `cluster` and `instance` under which this server pushes; it takes requests at
    `port`.
    """
    instance = settings.metric_instance_label or _instance(port)
    return {"cluster": settings.metric_cluster_label, "instance": instance}


def _instance(port: int) -> str:
    try:
        return f"{socket.gethostname()}:{port}"
    except OSError:
        return "pushgateway"
