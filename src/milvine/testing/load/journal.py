"""What the server has acknowledged, in one file for each client that changes something: written by
it, read by all.

Entries are rows of five int64, appended with one write each, so readers see whole ones and perhaps
a piece at the end.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milvine.testing import sample_rows
from milvine.testing.load.plan import Plan
from milvine.types import Ids, MetricType, Vectors

Entries = NDArray[np.int64]
COLLECTION, TAG, FIRST, COUNT, SEED = range(5)
"""Columns of an insert: collection and tag by number, ids FIRST to FIRST + COUNT - 1, seed of the
vectors.
"""
START, STOP = TAG, COUNT
"""Columns of a delete: rows START to STOP - 1 of the batch that begins at FIRST in COLLECTION."""
_WIDTH = 5
_LOOK_SECONDS = 0.2


class Journal:
    """Of one client."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, *entry: int) -> None:
        os.write(self._fd, np.array(entry, np.int64).tobytes())

    def close(self) -> None:
        os.close(self._fd)


def read(work: Path, kind: str) -> Entries:
    """All entries of the clients of a kind, (n, 5)."""
    parts = [path.read_bytes() for path in sorted(work.glob(f"{kind}*.journal"))]
    whole = b"".join(part[: len(part) // (8 * _WIDTH) * 8 * _WIDTH] for part in parts)
    return np.frombuffer(whole, np.int64).reshape(-1, _WIDTH)


def first_of(entry: Entries, plan: Plan) -> Vectors:
    """The first vector of an inserted batch, (1, dimension) float32: no other is like it."""
    return sample_rows.vectors_of(
        2 * int(entry[SEED]), 1, plan.dimension(int(entry[COLLECTION])), MetricType.L2
    )


def vectors_of(entry: Entries, plan: Plan) -> Vectors:
    """The vectors of an inserted batch, (COUNT, dimension) float32."""
    first, seed = first_of(entry, plan), int(entry[SEED])
    content = plan.rows[seed % len(plan.rows)]
    others = sample_rows.vectors_of(
        2 * seed + 1, int(entry[COUNT]) - 1, first.shape[1], MetricType.L2, content
    )
    return np.concatenate([first, others])


class Acknowledged:
    """The inserted batches as the threads of one process see them, looked up again every now and
    then.
    """

    def __init__(self, work: Path) -> None:
        self._work, self._lock = work, threading.Lock()
        self._entries, self._read_at = read(work, "writer"), time.monotonic()

    def some(self, random: np.random.Generator, count: int) -> Entries:
        """Up to `count` different batches of one collection, (n, 5); none when nothing was stored
        yet.
        """
        with self._lock:
            if time.monotonic() - self._read_at > _LOOK_SECONDS:
                self._entries, self._read_at = read(self._work, "writer"), time.monotonic()
            entries = self._entries
        if not len(entries):
            return entries
        of_one = entries[
            entries[:, COLLECTION] == entries[random.integers(len(entries)), COLLECTION]
        ]
        chosen: Entries = of_one[random.choice(len(of_one), min(count, len(of_one)), replace=False)]
        return chosen


def live_ids(inserts: Entries, deletes: Entries, collection: int) -> list[tuple[Entries, Ids]]:
    """Each batch of a collection with those of its ids that nobody deleted."""
    gone: dict[int, list[Entries]] = {}
    for entry in deletes[deletes[:, COLLECTION] == collection]:
        gone.setdefault(int(entry[FIRST]), []).append(entry)
    found = []
    for batch in inserts[inserts[:, COLLECTION] == collection]:
        alive = np.ones(int(batch[COUNT]), bool)
        for entry in gone.get(int(batch[FIRST]), ()):
            alive[int(entry[START]) : int(entry[STOP])] = False
        found.append((batch, int(batch[FIRST]) + np.flatnonzero(alive)))
    return found
