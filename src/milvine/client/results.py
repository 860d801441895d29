"""What calls return beside their `Status` (specification 5.9). Hits stay numpy arrays until they
are looked at.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np

from milvine.client.exceptions import ParamError
from milvine.limits import FILLER_ID
from milvine.types import Floats, Ids, IndexType, MetricType
from milvine.wire import schema

_HITS_FEW = 64
_ROWS_SHOWN_WHOLE = 5  # queries that repr() shows in full
_ROWS_SHOWN = 3  # queries, and hits of a query, that it shows of more


@dataclass
class CollectionSchema:
    """How a collection was made: `dimension` from 1 to 32768, `index_file_size` in MB."""

    collection_name: str
    dimension: int
    index_file_size: int
    metric_type: MetricType


@dataclass(repr=False)
class IndexParam:
    """The index setting of a collection; `params` as they were given to `create_index`."""

    collection_name: str
    index_type: IndexType
    params: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"IndexParam(_collection_name={self.collection_name!r},"
            f" _index_type={self.index_type!r}, _params={self.params!r})"
        )

    def __str__(self) -> str:
        return (
            f"(collection_name={self.collection_name!r}, index_type={self.index_type!r},"
            f" params={self.params!r})"
        )


@dataclass(repr=False)
class PartitionParam:
    """A partition of a collection."""

    collection_name: str
    tag: str

    def __repr__(self) -> str:
        return f"(collection_name={self.collection_name!r}, tag={self.tag!r})"


@dataclass(frozen=True, slots=True, repr=False)
class QueryResult:
    """One hit. `distance` is a Python float of float32 precision, in the unit of the collection's
    metric: see `Milvus.search`.
    """

    id: int
    distance: float

    def __repr__(self) -> str:
        return f"Result(id={self.id}, distance={self.distance})"


class RowQueryResult:
    """The hits of one query, nearest first, without fillers: a sequence of `QueryResult`."""

    __slots__ = ("_distances", "_ids")

    def __init__(self, ids: Ids, distances: Floats) -> None:
        self._ids, self._distances = ids, distances

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[QueryResult]:
        return map(QueryResult, self._ids.tolist(), self._distances.tolist())

    @overload
    def __getitem__(self, item: int) -> QueryResult: ...
    @overload
    def __getitem__(self, item: slice) -> list[QueryResult]: ...
    def __getitem__(self, item: int | slice) -> QueryResult | list[QueryResult]:
        if isinstance(item, slice):
            return list(RowQueryResult(self._ids[item], self._distances[item]))
        at = _position(item, len(self))
        return QueryResult(int(self._ids[at]), float(self._distances[at]))

    def _texts(self) -> list[str]:
        return [f"(id:{hit.id}, distance:{hit.distance})" for hit in self]

    def __repr__(self) -> str:
        return "[\n" + ",\n".join(self._texts()) + "\n]"


def _position(item: Any, length: int) -> int:
    at = operator.index(item)
    if not -length <= at < length:
        raise IndexError("list index out of range")
    return at


def _hits_of_rows(ids: Ids) -> Ids:
    """How many hits each row of `ids` (nq, width) has: a row ends at its first filler."""
    if not ids.size:
        return np.zeros(len(ids), dtype=np.int64)
    fillers = ids == FILLER_ID
    if not fillers.any():
        return np.full(len(ids), ids.shape[1], dtype=np.int64)
    counts: Ids = np.where(fillers.any(axis=1), fillers.argmax(axis=1), ids.shape[1]).astype(
        np.int64
    )
    return counts


class TopKQueryResult:
    """Hits of a search: a sequence of `RowQueryResult`, one per query.

    `raw_source` is the reply as a protobuf message. A missing hit is a filler with id -1; `shape`
    counts it, everything else does not show it.

    Raises:
        ParamError: the reply has more ids than distances, or fewer.
        ValueError: they do not divide by the number of queries.
    """

    def __init__(self, raw_source: Any, **kwargs: Any) -> None:
        ids = np.array(raw_source.ids, dtype=np.int64)
        self._fill(raw_source.row_num, ids, np.array(raw_source.distances, dtype=np.float32))

    @classmethod
    def of(
        cls, row_num: int, ids: Ids | list[int], distances: Floats | list[float]
    ) -> TopKQueryResult:
        """From arrays, flat and query-major: int64 and float32, `row_num` queries long; or from
        such lists, if few.
        """
        result = cls.__new__(cls)
        result._fill(row_num, ids, distances)
        return result

    def _fill(self, row_num: int, ids: Ids | list[int], distances: Floats | list[float]) -> None:
        if len(ids) != len(distances):
            raise ParamError("number of id not match distance ")
        if row_num < 0 or (len(ids) % row_num if row_num else len(ids)):
            raise ValueError(f"Search result is not aligned. {len(ids)} hits for {row_num} queries")
        width = len(ids) // row_num if row_num else 0
        self._given, self._shape = (ids, distances), (row_num, width)

    @cached_property
    def _ids(self) -> Ids:
        return np.asarray(self._given[0], np.int64).reshape(self._shape)

    @cached_property
    def _distances(self) -> Floats:
        return np.asarray(self._given[1], np.float32).reshape(self._shape)

    @cached_property
    def _counts(self) -> list[int]:
        counts: list[int] = _hits_of_rows(self._ids).tolist()
        return counts

    @property
    def shape(self) -> tuple[int, int]:
        """(queries, width); the width includes fillers."""
        return self._shape

    def _row(self, at: int) -> RowQueryResult:
        count = self._shape[1] if self._full else self._counts[at]
        return RowQueryResult(self._ids[at, :count], self._distances[at, :count])

    @cached_property
    def _full(self) -> bool:
        """Whether there is no filler."""
        ids = self._given[0]
        if isinstance(ids, list):
            return FILLER_ID not in ids
        if len(ids) <= _HITS_FEW:  # numpy takes longer to begin
            return FILLER_ID not in ids.tolist()
        return not (ids == FILLER_ID).any()

    def _rows_of(self, given: Any) -> list[Any]:
        """Lists of their own, one for each query, of what has no filler."""
        if not isinstance(given, list):
            rows: list[Any] = given.reshape(self._shape).tolist()
            return rows
        count, width = self._shape
        return [given[row * width : (row + 1) * width] for row in range(count)]

    @cached_property
    def id_array(self) -> list[list[int]]:
        """For each query the ids of its hits, without fillers: the lists differ in length."""
        if self._full:
            return self._rows_of(self._given[0])
        return [row[:count].tolist() for row, count in zip(self._ids, self._counts, strict=True)]

    @cached_property
    def distance_array(self) -> list[list[float]]:
        """For each query the distances of its hits, as `id_array` has the ids."""
        if self._full:
            return self._rows_of(self._given[1])
        return [
            row[:count].tolist() for row, count in zip(self._distances, self._counts, strict=True)
        ]

    @property
    def raw(self) -> Any:
        """The reply as a protobuf message."""
        reply = schema.TopKQueryResult(row_num=len(self))
        reply.status.reason = "OK"
        reply.ids.extend(self._ids.ravel().tolist())
        reply.distances.extend(self._distances.ravel().tolist())
        return reply

    def __len__(self) -> int:
        return self._shape[0]

    def __iter__(self) -> Iterator[RowQueryResult]:
        return map(self._row, range(len(self)))

    @overload
    def __getitem__(self, item: int) -> RowQueryResult: ...
    @overload
    def __getitem__(self, item: slice) -> list[RowQueryResult]: ...
    def __getitem__(self, item: int | slice) -> RowQueryResult | list[RowQueryResult]:
        if isinstance(item, slice):
            return [self._row(at) for at in range(*item.indices(len(self)))]
        return self._row(_position(item, len(self)))

    def __repr__(self) -> str:
        if len(self) <= _ROWS_SHOWN_WHOLE:
            return "[\n" + ",\n".join(map(repr, self)) + "\n]"
        rows = [_excerpt(self._row(at)) for at in range(_ROWS_SHOWN)]
        return "\n".join(["[", *rows, f"{'......':>14}", f"{'......':>18}", "]"])


def _excerpt(row: RowQueryResult) -> str:
    hits = row._texts()
    if len(hits) <= _ROWS_SHOWN_WHOLE:
        return f" [ {_joined(hits)} ]"
    return f" [ {_joined(hits[:_ROWS_SHOWN])},\n   ...\n   {hits[-1]} ]\n"


def _joined(hits: list[str]) -> str:
    return ",\n   ".join(hits)
