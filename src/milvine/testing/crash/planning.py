"""What the threads of a workload do next: calls that are legal now and touch nobody else's rows."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np

from milvine.testing.crash.journal import BATCH_IDS, OWNER_IDS, Action, History, runs_of
from milvine.testing.mix import Mix
from milvine.types import IndexType, MetricType

SHARED = ("given", "auto")
SHARED_DIMENSION_MAX = 64
"""Of the collections with many rows, if there is one so small."""
ROWS_MAX = 7000  # of one thread in one collection; past it deletes come first
INDEXED_ROWS = 4500  # segments of fewer than 4096 get no index
RECENT = 60  # inserts among which deleted ids are looked for
INDEXES: tuple[tuple[IndexType, dict[str, int]], ...] = (
    (IndexType.IVF_FLAT, {"nlist": 16}),
    (IndexType.HNSW, {"M": 6, "efConstruction": 24}),
    (IndexType.IVF_SQ8, {"nlist": 8}),
    (IndexType.FLAT, {}),
)
BINARY_INDEXES = (INDEXES[0], INDEXES[3])
WEIGHTS = {
    "insert": 36,
    "insert_large": 5,
    "insert_deleted_ids": 8,
    "delete": 16,
    "look": 8,
    "flush": 5,
    "compact": 2,
    "index": 6,
    "partition": 6,
    "own": 6,
    "backup": 3,
}


def own_name(thread: int) -> str:
    return f"own{thread}"


def search_params(index_type: IndexType, k: int) -> dict[str, int]:
    """Parameters under which a search is exact, or, for a graph, thorough."""
    return {"ef": max(k, 64)} if index_type is IndexType.HNSW else {"nprobe": 64}


def shared_shape(seed: int, name: str, mix: Mix) -> tuple[int, int, int]:
    """The setting under which a shared collection is made. Under L2 a vector is its own nearest."""
    small = [dimension for dimension in mix.dimensions if dimension <= SHARED_DIMENSION_MAX]
    return Random(f"{seed}/{name}").choice(small or mix.dimensions), 1, int(MetricType.L2)


class Planner:
    """What one thread does next: any call that is legal now and touches nobody else's rows."""

    def __init__(self, seed: int, thread: int, history: History, mix: Mix) -> None:
        self.random, self.thread, self.history = Random(f"{seed}/{thread}"), thread, history
        self._mix = mix

    def next(self, number: int) -> Action:
        """The next action. A thread that has too many rows deletes some first."""
        for name in ("given", "auto"):
            if len(self._mine(name)) > ROWS_MAX:
                return self._delete(number, name, ROWS_MAX // 2)
        kind = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        action: Action = getattr(self, f"_{kind}")(number)
        return action

    def _mine(self, name: str, tag: str = "") -> Any:
        return self.history.owned(self.thread, name, self.history.live_ids(name, tag))

    def _collection(self) -> str:
        names = ("given", "given", "auto", own_name(self.thread))
        return self.random.choice(
            [name for name in names if self.history.model.has_collection(name)]
        )

    def _tags(self, name: str) -> list[str]:
        return [
            tag for tag in self.history.model.partitions(name) if tag.startswith(f"t{self.thread}x")
        ]

    def _action(self, number: int, kind: str, name: str = "", **rest: Any) -> Action:
        return Action(number, self.thread, kind, name, **rest)

    def _insert(self, number: int, rows: int = 0, name: str = "") -> Action:
        name = name or self._collection()
        rows = rows or int(self.random.lognormvariate(3, 1.5)) % 800 + 1
        tag = self.random.choice(["", "", *self._tags(name)])
        ids = None if name == "auto" else ((self.thread * OWNER_IDS + number * BATCH_IDS, rows),)
        content = self._mix.content(self.random)
        return self._action(number, "insert", name, tag=tag, rows=rows, ids=ids, content=content)

    def _insert_large(self, number: int) -> Action:
        return self._insert(
            number, self.random.randint(1500, 6000), self.random.choice(["given", "given", "auto"])
        )

    def _insert_deleted_ids(self, number: int) -> Action:
        """New vectors under ids that were deleted before: the old rows must not come back."""
        name = self.random.choice(["given", own_name(self.thread)])
        if not self.history.model.has_collection(name):
            return self._insert(number)
        gone = self.history.owned(self.thread, name, self.history.gone_ids(name, RECENT))
        gone = gone[-self.random.randint(1, 200) :]
        if not len(gone):
            return self._insert(number)
        content = self._mix.content(self.random)
        return self._action(
            number, "insert", name, rows=len(gone), ids=runs_of(gone), content=content
        )

    def _delete(self, number: int, name: str = "", rows: int = 0) -> Action:
        name = name or self._collection()
        tag = "" if rows else self.random.choice(["", "", "_default", *self._tags(name)])
        mine = self._mine(name, tag)
        if not len(mine):
            return self._insert(number)
        rows = min(len(mine), rows or self.random.choice([1, 5, 50, 400]))
        first = self.random.randrange(len(mine) - rows + 1)
        chosen = mine[first : first + rows]
        if self.random.random() < 0.3:
            chosen = np.array(self.random.sample(mine.tolist(), rows))
        return self._action(number, "delete", name, tag=tag, ids=runs_of(np.sort(chosen)))

    def _look(self, number: int) -> Action:
        return self._action(number, "look", self._collection())

    def _backup(self, number: int) -> Action:
        return self._action(number, "backup", "given")

    def _flush(self, number: int) -> Action:
        return self._action(number, "flush", self.random.choice(["", "given", "auto"]))

    def _compact(self, number: int) -> Action:
        return self._action(number, "compact", self._collection())

    def _index(self, number: int) -> Action:
        """Thread 0 sets the indexes of the shared collections: then the last setting is known."""
        name = self.random.choice([*(SHARED if self.thread == 0 else ()), own_name(self.thread)])
        if not self.history.model.has_collection(name):
            return self._own(number)
        if self.random.random() < 0.2:
            return self._action(number, "drop_index", name)
        binary = self.history.model.definition(name).metric.is_binary
        some = BINARY_INDEXES if binary else INDEXES if name != "auto" else INDEXES[:1]
        index_type, params = self.random.choice(some)
        return self._action(
            number, "create_index", name, setting=(int(index_type), json.dumps(params))
        )

    def _partition(self, number: int) -> Action:
        name = self._collection()
        tags = self._tags(name)
        if len(tags) > 3 or (tags and self.random.random() < 0.3):
            return self._action(number, "drop_partition", name, tag=self.random.choice(tags))
        return self._action(number, "create_partition", name, tag=f"t{self.thread}x{number}")

    def _own(self, number: int) -> Action:
        """Its own collection is dropped, and made anew under the same name with another shape."""
        name = own_name(self.thread)
        if self.history.model.has_collection(name):
            return self._action(number, "drop_collection", name)
        dimension, metric = self._mix.shape(self.random)
        return self._action(number, "create_collection", name, setting=(dimension, 1, int(metric)))
