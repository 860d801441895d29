"""The callers: each a thread that makes one kind of call until the time is up, or something is
wrong.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from random import Random
from typing import Any

import numpy as np

from milvine.client.milvus import Milvus
from milvine.errors import ErrorCode
from milvine.limits import DEFAULT_TAG
from milvine.testing.load.clients import Wrong, check
from milvine.testing.races.lives import Batch, Life, Lives, Part, ids_of
from milvine.testing.races.shapes import Shape, distances, numbers_of, vectors_of
from milvine.types import IndexType, Vectors

TAG = "part"
"""The partition that comes and goes; `_default` stays as long as its collection."""
_INDEX_FILE_SIZE_MB = 4
_BATCHES = (1, 3, 40, 400, 5000)  # of 4096 rows or more an index is built
_QUERIES = (1, 1, 3, 5, 9)
_TOPK = 10
_CLOSE = 1e-5
_PROBES = {"nprobe": 16, "ef": 64}
_Indexes = tuple[tuple[IndexType, dict[str, int]], ...]
_FLOAT_INDEXES: _Indexes = (
    (IndexType.IVF_FLAT, {"nlist": 16}),
    (IndexType.HNSW, {"M": 8, "efConstruction": 40}),
    (IndexType.FLAT, {}),
)
_BINARY_INDEXES: _Indexes = ((IndexType.IVF_FLAT, {"nlist": 16}), (IndexType.FLAT, {}))
_CALL_SECONDS = 120.0
REST_ILLEGAL_BODY = 36
_REFUSALS = {
    ErrorCode.COLLECTION_NOT_EXISTS,
    ErrorCode.ILLEGAL_ARGUMENT,
    ErrorCode.ILLEGAL_DIMENSION,
    ErrorCode.ILLEGAL_ROWRECORD,
    ErrorCode.ILLEGAL_INDEX_TYPE,
    ErrorCode.ILLEGAL_METRIC_TYPE,
    ErrorCode.FILE_NOT_FOUND,
    REST_ILLEGAL_BODY,
}
"""What may be said of a request that met another collection than the one it was made for."""
_OTHER_REFUSALS = ("artition", "xists", "not exist", "no vector", "empty", "not found")
"""Code 1 is that of partitions and of collections without rows; anything else
with it is a fault."""


class Racer:
    """One caller: its client, its share of randomness, what it did, what was wrong."""

    def __init__(self, role: str, seed: int, lives: Lives, milvus: Milvus) -> None:
        self.role, self._lives, self._milvus = role, lives, milvus
        self._random = Random(f"{seed}/{role}")
        self._until = 0.0
        self.calls: Counter[str] = Counter()
        self.problem = ""

    def run(self, until: float) -> None:
        """Ends early, with a `problem`, at the first wrong answer."""
        self._until = until
        actions: list[Callable[[], None]] = getattr(self, f"_{self.role.rstrip('0123456789')}")()
        try:
            while time.monotonic() < until:
                self._random.choice(actions)()
        except Wrong as error:
            self.problem = f"{self.role}: {error}"
        except Exception:
            self.problem = f"{self.role}: {traceback.format_exc()}"
        finally:
            self.finish()
            self._milvus.close()

    def finish(self) -> None:
        """What has to be done when the time is up."""

    # choices

    def _name(self) -> str:
        return self._random.choice(self._lives.names)

    def _shape(self, life: Life | None) -> Shape:
        """Mostly that of the collection there is, else any: as of a caller who has
        not heard of the change."""
        return (
            life.shape
            if life and self._random.random() < 0.8
            else self._random.choice(self._lives.shapes)
        )

    def _outcome(self, kind: str, name: str, status: Any, life: Life | None, fits: bool) -> bool:
        """Whether the call was made to the collection of `life` and no other. Raises Wrong
        if its status is wrong."""
        same = life is not None and self._lives.now(name) is life
        self.calls[f"{kind}, {'answered' if status.OK() else 'refused'}"] += 1
        if same and fits != status.OK():
            raise Wrong(f"{kind} of {name}, which {'fits' if fits else 'does not fit'}: {status}")
        if not status.OK() and not _refused(status):
            raise Wrong(f"{kind} of {name}: {status}")
        return same

    # rows

    def _writer(self) -> list[Callable[[], None]]:
        return [self._insert, self._insert, self._insert, self._delete]

    def _insert(self) -> None:
        name, tag = self._name(), self._random.choice([DEFAULT_TAG, DEFAULT_TAG, TAG])
        before = self._lives.part(name, tag)
        shape = self._shape(before[0])
        batch = self._lives.take_ids(shape, self._random.choice(_BATCHES))
        rows = _sent(vectors_of(ids_of([batch]), shape), shape)
        given = list(range(batch[0], sum(batch)))
        status, ids = self._milvus.insert(name, rows, given, tag, timeout=_CALL_SECONDS)
        same_part = before[1] is not None and self._lives.part(name, tag) == before
        life, fits = before[0], before[0] is not None and before[0].shape is shape
        self._outcome("insert", name, status, life if same_part else None, fits)
        if status.OK():
            if list(ids) != given:
                raise Wrong(f"insert of {name} was answered with the ids {list(ids)[:3]}")
            self._lives.stored(name, tag, before, batch)

    def _delete(self) -> None:
        chosen = self._stored()
        if chosen is None:
            return
        name, life, part, batch = chosen
        with self._lives.lock:
            if batch not in part.stored:
                return
            part.stored.remove(batch)
            part.unsure.append(batch)
        status = self._milvus.delete_entity_by_id(
            name, list(range(batch[0], sum(batch))), timeout=_CALL_SECONDS
        )
        if self._outcome("delete", name, status, life, True):
            with self._lives.lock:
                part.unsure.remove(batch)
                part.deleted.append(batch)

    def _stored(self) -> tuple[str, Life, Part, Batch] | None:
        """Any rows that were stored in what a name leads to."""
        name = self._name()
        life, batches = self._lives.now(name), self._lives.stored_batches(name)
        return (name, life, *self._random.choice(batches)) if life and batches else None

    # answers

    def _reader(self) -> list[Callable[[], None]]:
        return [self._search, self._search, self._search, self._get, self._look]

    def _search(self) -> None:
        """Rows that are stored have themselves as nearest, where no graph is asked that may miss
        them; whatever is found has the shape of what was asked."""
        name, chosen = self._name(), None
        life = self._lives.now(name)
        shape, nq = self._shape(life), self._random.choice(_QUERIES)
        batches = [
            pair for pair in self._lives.stored_batches(name) if life and life.shape is shape
        ]
        batch = (shape.first_id(self._random.randrange(10**9)), nq)
        if batches:
            chosen = self._random.choice(batches)
            batch = chosen[1][0], min(nq, chosen[1][1])
        queries = vectors_of(ids_of([batch]), shape)
        status, hits = self._milvus.search(
            name, _TOPK, _sent(queries, shape), None, _PROBES, timeout=_CALL_SECONDS
        )
        same = self._outcome("search", name, status, life, life is not None and life.shape is shape)
        if not status.OK():
            return
        self._check_hits(name, hits, queries, shape, life if same else None)
        found = all(len(row) and row[0].distance <= _CLOSE for row in hits)
        sure = same and life and life.exact and not life.metric.larger_is_closer
        if life and sure and not found and self._still(life, chosen):
            raise Wrong(f"search of {name} ({life.metric}) did not find a stored row by itself")

    def _still(self, life: Life, chosen: tuple[Part, Batch] | None) -> bool:
        """Whether rows that were stored are stored still."""
        with self._lives.lock:
            return (
                chosen is not None
                and chosen[1] in chosen[0].stored
                and chosen[0] in life.parts.values()
            )

    def _check_hits(
        self, name: str, hits: Any, queries: Vectors, shape: Shape, life: Life | None
    ) -> None:
        if len(hits) not in (0, len(queries)):
            raise Wrong(f"search of {name}: {len(queries)} queries had {len(hits)} answers")
        metrics = (life.metric,) if life else shape.metrics
        for query, row in zip(queries, hits, strict=False):
            real = [(hit.id, hit.distance) for hit in row if hit.id >= 0]
            ids = np.array([row_id for row_id, _ in real], np.int64)
            if (numbers_of(ids) != shape.number).any():
                raise Wrong(f"search of {name} by {shape} found rows of another shape: {ids}")
            found, rows = np.array([distance for _, distance in real]), vectors_of(ids, shape)
            if not any(
                np.allclose(found, distances(query[None], rows, metric), atol=_CLOSE)
                for metric in metrics
            ):
                raise Wrong(f"search of {name} by {shape}: distances {found} are of no metric")

    def _get(self) -> None:
        chosen = self._stored()
        if chosen is None:
            return
        name, life, part, (first, count) = chosen
        ids = np.arange(first, first + min(count, 50))
        status, rows = self._milvus.get_entity_by_id(name, ids.tolist(), timeout=_CALL_SECONDS)
        same = self._outcome("get", name, status, None, True) or self._lives.now(name) is life
        if not status.OK():
            return
        expected = vectors_of(ids, life.shape)
        there = same and self._still(life, (part, (first, count)))
        for row, vector in zip(rows, expected, strict=True):
            if there and not len(row):
                raise Wrong(f"get of {name}: a stored row is missing")
            if len(row) and not np.array_equal(_received(row, life.shape), vector):
                raise Wrong(f"get of {name}: a row came back as {row[:3]}")

    def _look(self) -> None:
        """What tells of a collection as a whole."""
        name = self._name()
        life = self._lives.now(name)
        for kind, call in (
            ("count", self._milvus.count_entities),
            ("stats", self._milvus.get_collection_stats),
            ("describe", self._milvus.get_collection_info),
        ):
            status, found = call(name, timeout=_CALL_SECONDS)
            same = self._outcome(kind, name, status, life, True)
            if same and life and kind == "describe" and (found.dimension, found.metric_type) != (
                life.shape.dimension, life.metric,
            ):  # fmt: skip
                raise Wrong(
                    f"{name} is described as {found}, it is {life.shape} with {life.metric}"
                )

    # what works on files

    def _builder(self) -> list[Callable[[], None]]:
        return [self._build, self._build, self._tend]

    def _build(self) -> None:
        name = self._name()
        life = self._lives.now(name)
        shape = self._shape(life)
        index, params = self._random.choice(_BINARY_INDEXES if shape.is_binary else _FLOAT_INDEXES)
        with self._lives.graph(name) if index is IndexType.HNSW else nullcontext():
            status = self._milvus.create_index(name, index, params, timeout=_CALL_SECONDS)
        fits = life is not None and (
            life.shape.is_binary == shape.is_binary or index is not IndexType.HNSW
        )
        if life is not None and life.shape.is_binary != shape.is_binary:
            self._outcome("create_index", name, status, None, fits)
        else:
            self._outcome("create_index", name, status, life, fits)

    def _tend(self) -> None:
        name = self._name()
        life = self._lives.now(name)
        calls: dict[str, Callable[[], Any]] = {
            "flush": lambda: self._milvus.flush([name], timeout=_CALL_SECONDS),
            "flush all": lambda: self._milvus.flush(timeout=_CALL_SECONDS),
            "compact": lambda: self._milvus.compact(name, timeout=_CALL_SECONDS),
            "drop_index": lambda: self._milvus.drop_index(name, timeout=_CALL_SECONDS),
            "load": lambda: self._milvus.load_collection(name, timeout=_CALL_SECONDS),
        }
        kind = self._random.choice(list(calls))
        self._outcome(kind, name, calls[kind](), life, True)
        time.sleep(0.02)


class Definer(Racer):
    """Makes one name lead to another collection, again and again. Nobody else does that to it."""

    def __init__(self, role: str, seed: int, lives: Lives, milvus: Milvus) -> None:
        super().__init__(role, seed, lives, milvus)
        self._own = lives.names[int(role.removeprefix("definer"))]

    def _definer(self) -> list[Callable[[], None]]:
        return [self._make, self._partition, self._partition]

    def finish(self) -> None:
        if not self.problem and self._lives.now(self._own) is None:
            self._create()

    def _rested(self, *seconds: float) -> bool:
        """Waits for one of these times; whether there is time left after it."""
        time.sleep(max(0, min(self._random.choice(seconds), self._until - time.monotonic())))
        return time.monotonic() < self._until

    def _make(self) -> None:
        if not self._rested(0, 0.01, 0.2, 1.0, 3.0):
            return
        if self._lives.now(self._own):
            self._lives.ends(self._own)
            self._done(
                "drop_collection", self._milvus.drop_collection(self._own, timeout=_CALL_SECONDS)
            )
        self._create()

    def _create(self) -> None:
        shape = self._random.choice(self._lives.shapes)
        life = Life(shape, self._random.choice(shape.metrics), {DEFAULT_TAG: Part()})
        schema = {
            "collection_name": self._own,
            "dimension": shape.dimension,
            "index_file_size": _INDEX_FILE_SIZE_MB,
            "metric_type": life.metric,
        }
        self._done(
            "create_collection", self._milvus.create_collection(schema, timeout=_CALL_SECONDS)
        )
        self._lives.begins(self._own, life)

    def _partition(self) -> None:
        life = self._lives.now(self._own)
        if life is None or not self._rested(0, 0.01, 0.1):
            return
        with self._lives.lock:
            gone = life.parts.pop(TAG, None)
        if gone:
            self._done(
                "drop_partition", self._milvus.drop_partition(self._own, TAG, timeout=_CALL_SECONDS)
            )
        else:
            self._done(
                "create_partition",
                self._milvus.create_partition(self._own, TAG, timeout=_CALL_SECONDS),
            )
            with self._lives.lock:
                life.parts[TAG] = Part()

    def _done(self, kind: str, status: Any) -> None:
        self.calls[kind] += 1
        check(status)


def _refused(status: Any) -> bool:
    """Whether an error is one that a caller can meet who has not heard of a change."""
    if status.code == ErrorCode.UNEXPECTED_ERROR:
        return any(part in status.message for part in _OTHER_REFUSALS)
    return status.code in _REFUSALS


def _sent(vectors: Vectors, shape: Shape) -> Any:
    """As a caller hands them over: an array, or `bytes` for each row of bits."""
    return [row.tobytes() for row in vectors] if shape.is_binary else vectors


def _received(row: Any, shape: Shape) -> Vectors:
    return np.frombuffer(row, np.uint8) if shape.is_binary else np.array(row, np.float32)
