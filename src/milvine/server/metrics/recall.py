"""Recall of live searches: a small share of them is repeated exactly, and the answers are compared.

Off unless `metric.recall_sample_share` is above 0. One thread at the lowest priority does it, at
most a tenth of the time, from a short queue that drops what does not fit. A sample holds the
version that the search read, so rows that come or go in between change nothing.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from queue import Empty, Full, Queue

import numpy as np
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from milvine.search.prepared import PreparedSearch
from milvine.server.metrics.instruments import Counter, Histogram, Labels
from milvine.server.metrics.state import COLLECTIONS_MAX, OTHERS
from milvine.types import Hits, IndexType, Vectors

_WAITING_MAX = 4
_QUERIES_MAX = 8
_REST_PER_WORK = 9
_POLL_SECONDS = 0.2
_RECENT = 200
_LOWEST_PRIORITY = 19
_BOUNDS = (0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99, 0.999, 1.0)
_LABELS = ("collection", "index_type")


@dataclass(frozen=True, slots=True)
class _Sample:
    prepared: PreparedSearch
    vectors: Vectors
    hits: Hits


class RecallSampler:
    """`offer` is called after each search; `stop` ends the thread."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._queue: Queue[_Sample] = Queue(_WAITING_MAX)
        self._lock, self._ending = threading.Lock(), threading.Event()
        self._histogram = Histogram(
            "milvine_recall", "Recall at k of sampled queries", _BOUNDS, _LABELS
        )
        self._recent: dict[Labels, deque[float]] = {}
        self._samples = Counter("milvine_recall_samples_total", "Searches repeated exactly")
        self._dropped = Counter(
            "milvine_recall_samples_dropped_total", "Searches chosen while too many waited"
        )
        self._failed = Counter(
            "milvine_recall_samples_failed_total", "Searches whose repetition failed"
        )
        self._thread = threading.Thread(target=self._run, name="milvine-recall", daemon=True)
        self._thread.start()

    def offer(self, prepared: PreparedSearch, vectors: Vectors, hits: Hits) -> None:
        """A search for `vectors` found `hits`; perhaps it is chosen. Takes no time to speak of and
        never waits.
        """
        if (
            random.random() >= self._share
            or prepared.collection.index.type is IndexType.FLAT
            or not hits.nq
        ):
            return
        chosen = random.sample(range(hits.nq), min(hits.nq, _QUERIES_MAX))
        some = Hits(hits.ids[chosen], hits.distances[chosen])
        try:
            self._queue.put_nowait(_Sample(prepared, vectors[chosen], some))
        except Full:
            with self._lock:
                self._dropped.add()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            recent = GaugeMetricFamily(
                "milvine_recall_recent", f"Mean of the last {_RECENT} queries", labels=_LABELS
            )
            for labels, values in self._recent.items():
                recent.add_metric(labels, sum(values) / len(values))
            counters = (self._samples, self._dropped, self._failed)
            return [self._histogram.family(), recent, *(each.family() for each in counters)]

    def _run(self) -> None:
        if sys.platform == "linux":  # where each thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while not self._ending.is_set():
            try:
                sample = self._queue.get(timeout=_POLL_SECONDS)
            except Empty:
                continue
            began = time.monotonic()
            self._measure(sample)
            del sample  # it holds files and rows
            self._ending.wait((time.monotonic() - began) * _REST_PER_WORK)

    def _measure(self, sample: _Sample) -> None:
        try:
            recalls = recall(sample.hits, sample.prepared.search_exactly(sample.vectors))
        except Exception:  # whatever it was, as want of memory: the next sample is another try
            with self._lock:
                self._failed.add()
            return
        collection = sample.prepared.collection
        with self._lock:
            labels = self._labels(collection.name, str(collection.index.type))
            self._samples.add()
            for value in recalls:
                self._histogram.observe(value, 1, labels)
            self._recent.setdefault(labels, deque(maxlen=_RECENT)).extend(recalls)

    def _labels(self, collection: str, index_type: str) -> Labels:
        """The first collections have labels of their own: what is counted once cannot move to
        another label.
        """
        labels = collection, index_type
        full = len(self._recent) >= COLLECTIONS_MAX and labels not in self._recent
        return (OTHERS, index_type) if full else labels


def recall(found: Hits, exact: Hits) -> list[float]:
    """For each query the share of the ids in `exact` that are in `found`; queries without an answer
    are left out.
    """
    shares = []
    for row in range(exact.nq):
        wanted = exact.ids[row][exact.ids[row] >= 0]
        if len(wanted):
            shares.append(float(np.isin(wanted, found.ids[row]).mean()))
    return shares
