"""A database with operations and metrics, and what a scrape of it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import Event, Events
from milvine.server.metrics.serving import Metrics
from milvine.server.operations import Operations
from tests.server.calling import Caller, params

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Running:
    database: Database
    operations: Operations
    metrics: Metrics
    told: list[Event]

    @property
    def call(self) -> Caller:
        return Caller(self.operations)

    def scrape(self) -> Samples:
        return samples_of(generate_latest(self.metrics.registry).decode())


def samples_of(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in families
        for s in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[Running]:
    chosen = Settings(background=False, search_threads=1, build_in_subprocess=False, **settings)
    told: list[Event] = []
    events = Events(told.append)
    with Database.open(folder, chosen, events) as database:
        operations = Operations(database, chosen, events)
        metrics = Metrics.start(database, operations.in_flight, chosen, events, port=19530)
        try:
            yield Running(database, operations, metrics, told)
        finally:
            metrics.stop()


def work(call: Caller, rows: int = 5000, name: str = "c") -> np.ndarray[Any, Any]:
    """A bit of everything: rows, deletes, an index, searches of segments and tail, a refusal."""
    vectors = np.random.default_rng(7).random((rows, 8), dtype=np.float32)
    call.create(name, dimension=8)
    ids = call.insert(vectors, name=name)
    call.search(vectors[:3], 5, {}, name)  # the tail
    call.ok("CreateIndex", collection_name=name, index_type=2, extra_params=params(nlist=64))
    call.search(vectors[:3], 5, {"nprobe": 2}, name)
    call.insert(vectors[:10], name=name)
    call.ok("DeleteByID", collection_name=name, id_array=ids[:7])
    call.ok("PreloadCollection", collection_name=name)
    call.fails("CountCollection", collection_name="nothing")
    return vectors
