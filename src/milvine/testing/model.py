"""A database that is a dict and a loop: what `milvine.engine.database.Database` must be
indistinguishable from.

It keeps rows in arrays per partition, forgets nothing it was told and knows no files. Search is
exact, in float64. Methods have the names, arguments and errors of `Database`; what has no effect on
data (flush, compact) does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from milvine.errors import (
    CollectionExists,
    CollectionNotFound,
    DefaultPartitionDrop,
    IllegalDimension,
    IllegalPartition,
    IllegalVectorId,
    NothingStored,
    PartitionNotFound,
)
from milvine.limits import DEFAULT_TAG, FILLER_DISTANCE, FILLER_ID
from milvine.testing.oracle import pair_bits, pair_distances
from milvine.types import Collection, Hits, IdMode, Ids, IndexSetting, MetricType, Query, Vectors


class Store(Protocol):
    """What `Database` and `ModelDatabase` have in common."""

    def create_collection(
        self, name: str, dimension: int, index_file_size_mb: int, metric: MetricType
    ) -> None: ...
    def drop_collection(self, name: str) -> None: ...
    def has_collection(self, name: str) -> bool: ...
    def definition(self, name: str) -> Collection: ...
    def collections(self) -> list[str]: ...
    def count(self, name: str) -> int: ...
    def create_partition(self, name: str, tag: str) -> None: ...
    def drop_partition(self, name: str, tag: str) -> None: ...
    def has_partition(self, name: str, tag: str) -> bool: ...
    def partitions(self, name: str) -> list[str]: ...
    def create_index(self, name: str, index: IndexSetting) -> None: ...
    def drop_index(self, name: str) -> None: ...
    def insert(
        self, name: str, vectors: Vectors, ids: Ids | None, tag: str = "", key: str = ""
    ) -> Ids: ...
    def delete(self, name: str, ids: Ids, tag: str = "") -> None: ...
    def get(
        self, name: str, ids: Ids, tags: Sequence[str] = ()
    ) -> tuple[NDArray[np.bool_], Vectors]: ...
    def search(self, name: str, query: Query) -> Hits: ...
    def flush(self, names: Sequence[str] | None) -> None: ...
    def compact(self, name: str) -> None: ...


def lookup(
    db: Store, name: str, ids: Ids, tags: Sequence[str] = ()
) -> tuple[NDArray[np.bool_], Vectors]:
    """`get`, where a collection without anything stored has none of the ids (specification 3.16
    makes it an error).
    """
    try:
        return db.get(name, ids, tags)
    except NothingStored:
        collection = db.definition(name)
        return np.zeros(len(ids), dtype=bool), np.zeros(
            (len(ids), collection.width), collection.dtype
        )


@dataclass
class Rows:
    """Rows in the order in which they were inserted: ids (n,) int64, vectors (n, width)."""

    ids: Ids
    vectors: Vectors

    @classmethod
    def none(cls, collection: Collection) -> Rows:
        return cls(np.empty(0, np.int64), np.empty((0, collection.width), collection.dtype))

    def add(self, ids: Ids, vectors: Vectors) -> None:
        self.ids = np.concatenate([self.ids, ids])
        self.vectors = np.concatenate([self.vectors, vectors])

    def remove(self, ids: Ids) -> None:
        keep = ~np.isin(self.ids, ids)
        self.ids, self.vectors = self.ids[keep], self.vectors[keep]


@dataclass
class Table:
    """One collection with its rows by partition tag, `_default` first."""

    collection: Collection
    partitions: dict[str, Rows] = field(default_factory=dict)

    def matching(self, tags: Sequence[str]) -> list[Rows]:
        """Partitions that tag patterns select (specification 3.12); all of them when there is no
        pattern.
        """
        if not tags:
            return list(self.partitions.values())
        found = [
            rows for tag, rows in self.partitions.items() if any(_selects(p, tag) for p in tags)
        ]
        if not found:
            raise PartitionNotFound.unmatched()
        return found


def _selects(pattern: str, tag: str) -> bool:
    return pattern == tag or (
        DEFAULT_TAG not in (pattern, tag) and re.fullmatch(pattern, tag) is not None
    )


def distances(queries: Vectors, vectors: Vectors, metric: MetricType) -> NDArray[np.float64]:
    """Of every pair in the metric's own sense, float64 (nq, n); NaN where a pair is no hit."""
    if not len(queries) or not len(vectors):
        return np.empty((len(queries), len(vectors)))
    if metric.is_binary:
        return pair_bits(queries, vectors, metric)
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.asarray(pair_distances(queries, vectors, metric))
    found[:, ~np.isfinite(vectors).all(axis=1)] = np.nan
    found[~np.isfinite(queries).all(axis=1)] = np.nan
    return found


class ModelDatabase:
    """The in-memory twin of `Database`. Not safe for several threads at once."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}
        self._made = 0
        self._generated = 0

    def table(self, name: str) -> Table:
        """Collection and rows, for tests that look inside. Raises CollectionNotFound."""
        if name not in self._tables:
            raise CollectionNotFound.named(name)
        return self._tables[name]

    # collections

    def create_collection(
        self, name: str, dimension: int, index_file_size_mb: int, metric: MetricType
    ) -> None:
        if name in self._tables:
            raise CollectionExists()
        self._made += 1
        collection = Collection(self._made, name, dimension, metric, index_file_size_mb)
        self._tables[name] = Table(collection, {DEFAULT_TAG: Rows.none(collection)})

    def drop_collection(self, name: str) -> None:
        del self._tables[self.table(name).collection.name]

    def has_collection(self, name: str) -> bool:
        return name in self._tables

    def definition(self, name: str) -> Collection:
        return self.table(name).collection

    def collections(self) -> list[str]:
        return list(self._tables)

    def count(self, name: str) -> int:
        return sum(len(rows.ids) for rows in self.table(name).partitions.values())

    # partitions

    def create_partition(self, name: str, tag: str) -> None:
        table = self.table(name)
        if tag in table.partitions:
            raise IllegalPartition("Duplicate partition is not allowed")
        table.partitions[tag] = Rows.none(table.collection)

    def drop_partition(self, name: str, tag: str) -> None:
        table = self.table(name)
        if tag == DEFAULT_TAG:
            raise DefaultPartitionDrop()
        self._partition(name, tag)
        del table.partitions[tag]

    def has_partition(self, name: str, tag: str) -> bool:
        return tag in self.table(name).partitions

    def partitions(self, name: str) -> list[str]:
        return list(self.table(name).partitions)

    def _partition(self, name: str, tag: str) -> Rows:
        table = self.table(name)
        if (tag or DEFAULT_TAG) not in table.partitions:
            raise PartitionNotFound.named(name, tag)
        return table.partitions[tag or DEFAULT_TAG]

    # index settings: remembered, without effect on answers

    def create_index(self, name: str, index: IndexSetting) -> None:
        table = self.table(name)
        table.collection = replace(table.collection, index=index)

    def drop_index(self, name: str) -> None:
        self.create_index(name, IndexSetting())

    # rows

    def insert(
        self,
        name: str,
        vectors: Vectors,
        ids: Ids | None,
        tag: str = "",
        key: str = "",
        *,
        generated: Ids | None = None,
    ) -> Ids:
        """Adds rows; it is asked once, so `key` means nothing here.

        With `generated`, the ids that another database made for the same call are taken over.
        """
        table = self.table(name)
        mode = IdMode.GENERATED if ids is None else IdMode.GIVEN
        if table.collection.id_mode not in (IdMode.UNDECIDED, mode):
            raise IllegalVectorId(_ID_MODE_TEXT[table.collection.id_mode])
        _check_shape(table.collection, vectors)
        rows = self._partition(name, tag)
        if ids is None:
            ids = (
                generated
                if generated is not None
                else np.arange(self._generated, self._generated + len(vectors))
            )
            self._generated = max(self._generated, int(ids.max(initial=0)) + 1)
        rows.add(np.asarray(ids, np.int64), vectors)
        table.collection = replace(table.collection, id_mode=mode)
        return np.asarray(ids, np.int64)

    def delete(self, name: str, ids: Ids, tag: str = "") -> None:
        table = self.table(name)
        for rows in (
            [table.partitions[tag]]
            if tag in table.partitions
            else []
            if tag
            else table.partitions.values()
        ):
            rows.remove(ids)

    def get(
        self, name: str, ids: Ids, tags: Sequence[str] = ()
    ) -> tuple[NDArray[np.bool_], Vectors]:
        """(n,) whether each id is there, (n, width) its first vector or zeros."""
        scope = self.table(name).matching(tags)
        collection = self.definition(name)
        all_ids = np.concatenate([rows.ids for rows in scope])
        order = np.argsort(all_ids, kind="stable")
        at = np.searchsorted(all_ids[order], ids)
        found = np.zeros(len(ids), dtype=bool)
        within = at < len(order)
        found[within] = all_ids[order[at[within]]] == ids[within]
        vectors = np.zeros((len(ids), collection.width), collection.dtype)
        vectors[found] = np.concatenate([rows.vectors for rows in scope])[order[at[found]]]
        return found, vectors

    def copies(self, name: str, row_id: int, tags: Sequence[str] = ()) -> Vectors:
        """Every stored vector of one id, shape (copies, width): with duplicates, `Database.get` may
        give any.
        """
        return np.concatenate(
            [rows.vectors[rows.ids == row_id] for rows in self.table(name).matching(tags)]
        )

    def search(self, name: str, query: Query) -> Hits:
        """Exact hits, ties by id. Width min(k, rows + 1), as specification 3.13 says where there is
        a segment.
        """
        _check_shape(self.definition(name), query.vectors)
        scope = self.table(name).matching(query.tags)
        ids = np.concatenate([rows.ids for rows in scope])
        nq, width = len(query.vectors), min(query.k, len(ids) + 1)
        hits = Hits(
            np.full((nq, width), FILLER_ID), np.full((nq, width), FILLER_DISTANCE, np.float32)
        )
        metric = self.definition(name).metric
        table = distances(query.vectors, np.concatenate([rows.vectors for rows in scope]), metric)
        keep = min(width, len(ids))
        for row, found in enumerate(table):
            best = np.lexsort((ids, -found if metric.larger_is_closer else found))[:keep]
            best = best[~np.isnan(found[best])]
            hits.ids[row, : len(best)], hits.distances[row, : len(best)] = ids[best], found[best]
        return hits

    def flush(self, names: Sequence[str] | None = None) -> None:
        for name in names or ():
            self.table(name)

    def compact(self, name: str) -> None:
        self.table(name)


def _check_shape(collection: Collection, vectors: Vectors) -> None:
    if vectors.dtype != collection.dtype or vectors.shape[1] != collection.width:
        raise IllegalDimension("The vector dimension must be equal to the collection dimension.")


_ID_MODE_TEXT = {
    IdMode.GIVEN: (
        "Entities IDs are user-defined. Please provide IDs for all entities of the collection."
    ),
    IdMode.GENERATED: (
        "Entities IDs are auto-generated. All vectors of this collection must use auto-generated"
        " IDs."
    ),
}
