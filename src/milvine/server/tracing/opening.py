"""Traces of calls, by OpenTelemetry: whether there are any. `spans.py` makes the spans, imported
when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from milvine.config import Settings
from milvine.errors import OperatorError
from milvine.events import Event, Events
from milvine.redaction import without_secrets

Observe = Callable[[Iterable[tuple[str, Any]]], None]
"""Takes the metadata or headers of a call, on the thread or in the context that serves it, before
it is served.
"""


class TracingFailed(OperatorError):
    """Traces are asked for, and what sends them is not installed."""


class Tracing(Protocol):
    """Makes spans from events."""

    def listen(self, event: Event) -> None: ...

    def observe(self, metadata: Iterable[tuple[str, Any]]) -> None:
        """The caller's W3C `traceparent`, if any, becomes the parent of the call's span."""

    def close(self) -> None:
        """Send what is not sent yet; waits a few seconds at most."""


def open_tracing(settings: Settings, events: Events) -> Tracing | None:
    """Traces as the settings ask for, subscribed to the events; None without
    `tracing_config.otlp_endpoint`.

    Raises:
        TracingFailed: they are asked for and OpenTelemetry is not installed.
    """
    if not settings.trace_endpoint:
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise TracingFailed(
            f"tracing_config.otlp_endpoint is {without_secrets(settings.trace_endpoint)}, but"
            " traces need OpenTelemetry: pip install 'milvine[otel]'"
        )
    tracing: Tracing = import_module("milvine.server.tracing.spans").open_spans(
        settings.trace_endpoint
    )
    events.subscribe(tracing.listen)
    return tracing


class TracedApp:
    """An ASGI application whose requests are observed."""

    def __init__(self, app: Any, observe: Observe) -> None:
        self._app, self._observe = app, observe

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self._observe(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in scope["headers"]
            )
        await self._app(scope, receive, send)
