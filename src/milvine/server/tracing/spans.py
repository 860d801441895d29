"""Spans of OpenTelemetry from events: a call from the wire to the kernels, made when its answer is
told.

The events of one call come on one thread, the one that serves it, Answered last; only group commits
come from the writer thread. Spans get their times from the events, so nothing is measured twice and
nothing on the way knows of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import milvine
from milvine.events import Event, GroupCommitted, Inserted, Searched
from milvine.events.server import Answered
from milvine.types import ScanStep

SCANS_MAX = 64
"""Scans of one search that get a span; the attributes of the search count all."""
_PARTS_MAX = 16
_GROUPS_MAX = 64
_SEND_SECONDS = 5
_PATH = "/v1/traces"

_caller: ContextVar[Mapping[str, str] | None] = ContextVar("milvine_caller", default=None)
_propagator = TraceContextTextMapPropagator()


def open_spans(endpoint: str) -> Spans:
    """Spans that are sent to `endpoint` by OTLP over HTTP: a collector's base address, or the full
    path.
    """
    url = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH
    return Spans(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=_SEND_SECONDS)))


class Spans:
    """A `Tracing` whose spans go to `processor`."""

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create(
            {"service.name": "milvine", "service.version": milvine.__version__}
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("milvine")
        self._thread = threading.local()
        # Each with the time at which it ended.
        self._groups: deque[tuple[int, GroupCommitted]] = deque(maxlen=_GROUPS_MAX)

    def observe(self, metadata: Iterable[tuple[str, Any]]) -> None:
        _caller.set({key: value for key, value in metadata if key in ("traceparent", "tracestate")})

    def listen(self, event: Event) -> None:
        if isinstance(event, GroupCommitted):
            self._groups.append((time.time_ns(), event))
        elif isinstance(event, (Searched, Inserted)):
            self._parts().append((time.time_ns(), event))
        elif isinstance(event, Answered):
            self._call(event, time.time_ns())

    def close(self) -> None:
        self._provider.shutdown()

    def _parts(self) -> deque[tuple[int, Searched | Inserted]]:
        """What was told on this thread since its last answer."""
        parts: deque[tuple[int, Searched | Inserted]] | None = getattr(self._thread, "parts", None)
        if parts is None:
            parts = self._thread.parts = deque(maxlen=_PARTS_MAX)
        return parts

    def _call(self, event: Answered, ended: int) -> None:
        parts = self._parts()
        began = ended - _ns(event.seconds)
        span = self._tracer.start_span(
            event.rpc,
            context=_propagator.extract(_caller.get() or {}),
            kind=SpanKind.SERVER,
            start_time=began,
            attributes={
                "rpc.method": event.rpc,
                "milvine.code": event.code,
                "milvine.request_bytes": event.size,
            },
        )
        if span.is_recording():
            if event.code:
                span.set_status(Status(StatusCode.ERROR))
            for when, part in parts:
                span.set_attribute("milvine.collection", part.collection)
                self._search(span, part, when) if isinstance(part, Searched) else self._insert(
                    span, part, when
                )
        parts.clear()
        span.end(end_time=ended)

    def _search(self, call: Span, event: Searched, ended: int) -> None:
        call.set_attributes({"milvine.nq": event.nq, "milvine.topk": event.topk})
        steps, began = event.steps, ended - _ns(event.seconds)
        planned = began + _ns(steps.plan_seconds)
        scanned = planned + _ns(steps.scan_seconds)
        params = {f"milvine.params.{key}": value for key, value in steps.params.items()}
        attributes = {"milvine.metric": steps.metric, "milvine.scans": len(steps.scans), **params}
        search = self._child(call, "search", began, attributes)
        self._child(search, "plan", began, {}).end(end_time=planned)
        scans = self._child(search, "scan", planned, {})
        for scan in steps.scans[:SCANS_MAX]:
            first = began + _ns(scan.began)
            self._child(scans, f"scan {scan.kind}", first, _facts(scan)).end(
                end_time=first + _ns(scan.seconds)
            )
        scans.end(end_time=scanned)
        self._child(search, "reduce", scanned, {}).end(end_time=scanned + _ns(steps.reduce_seconds))
        search.end(end_time=ended)

    def _insert(self, call: Span, event: Inserted, ended: int) -> None:
        began = ended - _ns(event.seconds)
        insert = self._child(
            call, "insert", began, {"milvine.rows": event.rows, "milvine.bytes": event.size}
        )
        group = self._group(began, ended)
        if group is not None:
            when, commit = group
            attributes = {"milvine.requests": commit.requests, "milvine.bytes": commit.size}
            log = self._child(insert, "log commit", when - _ns(commit.seconds), attributes)
            self._child(log, "fsync", when - _ns(commit.sync_seconds), {}).end(end_time=when)
            log.end(end_time=when)
        insert.end(end_time=ended)

    def _group(self, began: int, ended: int) -> tuple[int, GroupCommitted] | None:
        """The last group commit that ended while an insert waited, which is as a rule the one with
        its rows.
        """
        waited = [group for group in self._groups.copy() if began <= group[0] <= ended]
        return waited[-1] if waited else None

    def _child(self, parent: Span, name: str, began: int, attributes: Mapping[str, Any]) -> Span:
        context = trace.set_span_in_context(parent)
        return self._tracer.start_span(
            name, context=context, start_time=began, attributes=dict(attributes)
        )


def _facts(scan: ScanStep) -> dict[str, Any]:
    return {
        "milvine.kind": scan.kind,
        "milvine.segments": [str(segment) for segment in scan.segments[:SCANS_MAX]],
        "milvine.rows": scan.rows,
        "milvine.masked": scan.masked,
    }


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
