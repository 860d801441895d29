"""What the callers of one process know: which collections there are between two changes, and what
is stored in them.

A name leads to a `Life` from the moment its creation was acknowledged to the moment before its drop
is asked for. A call during which the name led to the same life was made to that collection and no
other, so its answer is known.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from milvine.testing.races.shapes import SHAPES, Shape
from milvine.types import Ids, MetricType

Batch = tuple[int, int]
"""First id and number of rows."""


@dataclass(eq=False)
class Part:
    """A partition between its creation and its drop."""

    stored: list[Batch] = field(default_factory=list)
    deleted: list[Batch] = field(default_factory=list)
    unsure: list[Batch] = field(default_factory=list)
    """Rows that may be there or not, as their call met a change."""


@dataclass(eq=False)
class Life:
    """A collection between its creation and its drop."""

    shape: Shape
    metric: MetricType
    parts: dict[str, Part] = field(default_factory=dict)
    exact: bool = True
    """Whether a search is sure to find what is nearest: no graph was ever asked for."""


class Lives:
    """Of the names that one process makes and drops, with any of `shapes`.

    Thread-safe; `lock` protects the lists of batches.
    """

    def __init__(self, names: list[str], shapes: Sequence[Shape] = SHAPES) -> None:
        self.names, self.shapes, self.lock = names, shapes, threading.Lock()
        self._now: dict[str, Life | None] = dict.fromkeys(names)
        self._unsure: dict[str, list[Batch]] = {name: [] for name in names}
        self._graphs = Counter[str]()  # calls under way that ask for one, by name
        self._serial = 0

    def now(self, name: str) -> Life | None:
        """The collection that the name leads to; None while that changes."""
        return self._now[name]

    def ends(self, name: str) -> None:
        self._now[name] = None

    def begins(self, name: str, life: Life) -> None:
        with self.lock:
            life.exact = not self._graphs[name]
            self._now[name] = life

    @contextmanager
    def graph(self, name: str) -> Iterator[None]:
        """While a graph index is asked for, of whatever the name leads to."""
        with self.lock:
            self._graphs[name] += 1
            life = self._now[name]
            if life is not None:
                life.exact = False
        try:
            yield
        finally:
            with self.lock:
                self._graphs[name] -= 1

    def take_ids(self, shape: Shape, count: int) -> Batch:
        """Ids that nobody else has."""
        with self.lock:
            self._serial += count
            return shape.first_id(self._serial - count), count

    def part(self, name: str, tag: str) -> tuple[Life | None, Part | None]:
        life = self._now[name]
        return life, life.parts.get(tag) if life else None

    def stored(
        self, name: str, tag: str, before: tuple[Life | None, Part | None], batch: Batch
    ) -> bool:
        """Note rows whose insert was acknowledged; whether it is known into what."""
        with self.lock:
            sure = before[1] is not None and self.part(name, tag) == before
            (before[1].stored if sure and before[1] else self._unsure[name]).append(batch)
            return sure

    def unsure(self, name: str, batch: Batch) -> None:
        with self.lock:
            self._unsure[name].append(batch)

    def stored_batches(self, name: str) -> list[tuple[Part, Batch]]:
        """Everything stored in the collection that the name leads to."""
        with self.lock:
            life = self._now[name]
            return (
                [(part, batch) for part in life.parts.values() for batch in part.stored]
                if life
                else []
            )

    def expected(self) -> dict[str, dict[str, object]]:
        """What must be in each collection at the end, as JSON: batches that are
        there, gone, or either."""
        found: dict[str, dict[str, object]] = {}
        for name, life in self._now.items():
            assert life is not None, f"{name} was left without a collection"
            parts = life.parts.values()
            found[name] = {
                "shape": life.shape.number,
                "stored": [batch for part in parts for batch in part.stored],
                "deleted": [batch for part in parts for batch in part.deleted],
                "unsure": [batch for part in parts for batch in part.unsure] + self._unsure[name],
            }
        return found


def ids_of(batches: list[Batch]) -> Ids:
    return np.concatenate(
        [np.arange(first, first + count) for first, count in batches] or [np.empty(0, np.int64)]
    )
