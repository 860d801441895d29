"""The nouns that cross package borders: made once, never edited."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import repeat
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
"""float32, shape (rows, dimension), C-contiguous."""
Ids: TypeAlias = NDArray[np.int64]
"""int64, shape (rows,)."""
Bytes: TypeAlias = NDArray[np.uint8]
Vectors: TypeAlias = NDArray[Any]
"""float32 (rows, dimension), or uint8 (rows, dimension / 8) for binary collections."""


class WireEnum(IntEnum):
    """An int on the wire that prints as its bare name, as users of 1.x know it."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    def __str__(self) -> str:
        return self.name

    def __format__(self, format_spec: str) -> str:
        return format(self.name, format_spec)


class MetricType(WireEnum):
    """Metric numbers of the wire (specification 2.3)."""

    INVALID = 0
    L2 = 1
    IP = 2
    HAMMING = 3
    JACCARD = 4
    TANIMOTO = 5
    SUBSTRUCTURE = 6
    SUPERSTRUCTURE = 7

    @property
    def is_binary(self) -> bool:
        return self >= _HAMMING

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the vectors: uint8, eight dimensions each, for binary metrics."""
        return np.dtype(np.uint8) if self.is_binary else np.dtype(np.float32)

    def width(self, dimension: int) -> int:
        """Elements of `dtype` in one vector."""
        return dimension // 8 if self.is_binary else dimension

    @property
    def larger_is_closer(self) -> bool:
        return self is _IP


# Python 3.11 is slow to find a member by its class.
_HAMMING, _IP = MetricType.HAMMING, MetricType.IP


ADDITIONS_LEAST, OTHERS_LEAST, INDEX_TYPE_MAX = 1001, 2001, (1 << 31) - 1
"""Index numbers that Milvus 1.x does not have, and among them those of other distributions."""


class IndexType(WireEnum):
    """Index numbers of the wire (specification 2.2). Two have a second name, by which 1.x clients
    may call them.

    From 1001 on they are additions to Milvus 1.x, which clients of 1.x never see. From 2001 on they
    belong to whoever adds types beside Milvine (`milvine.index.registry`): these are no members,
    but `IndexType(2001)` is one all the same, of which there is one object. It prints as its number
    until its spec was needed in this process, then by its name.
    """

    INVALID = 0
    FLAT = 1
    IVF_FLAT = 2
    IVFLAT = 2
    IVF_SQ8 = 3
    RNSG = 4
    IVF_SQ8H = 5
    IVF_SQ8_H = 5
    IVF_PQ = 6
    SPTAG_KDT = 7
    SPTAG_BKT = 8
    HNSW = 11
    ANNOY = 12
    IVF_PQFS = 1001
    IVF_RABITQ = 1002
    HNSW_SQ8 = 1003

    @property
    def is_addition(self) -> bool:
        """No index type of Milvus 1.x."""
        return self >= ADDITIONS_LEAST

    @classmethod
    def _missing_(cls, value: object) -> IndexType | None:
        if not isinstance(value, int) or not ADDITIONS_LEAST <= value <= INDEX_TYPE_MAX:
            return None
        added = int.__new__(cls, value)
        added._value_, added._name_ = int(value), str(int(value))
        kept: IndexType = cls._value2member_map_.setdefault(added._value_, added)  # type: ignore[assignment]
        return kept

    @classmethod
    def named(cls, number: int, name: str) -> IndexType:
        """The type of a number that is no member's, which prints as `name` from now on."""
        added = cls(number)
        if added._name_ not in cls.__members__:
            added._name_ = name
        return added


class IdMode(IntEnum):
    """Who gives the ids of a collection; fixed by its first insert (specification 3.10)."""

    UNDECIDED = 0
    GENERATED = 1
    GIVEN = 2


@dataclass(frozen=True, slots=True)
class IndexSetting:
    """What create_index asked for: a type and its parameters as canonical JSON text."""

    type: IndexType = IndexType.FLAT
    params_json: str = "{}"

    @classmethod
    def of(cls, index_type: IndexType, params: Any) -> IndexSetting:
        return cls(index_type, json.dumps(params, separators=(",", ":"), sort_keys=True))

    @property
    def params(self) -> dict[str, Any]:
        value = json.loads(self.params_json)
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as the catalog holds it. `id` is never used again after a drop.

    Attributes:
        dtype: of its vectors; uint8, eight dimensions each, for binary metrics.
        width: elements of `dtype` in one row.
        row_bytes: bytes of one row.
    """

    id: int
    name: str
    dimension: int
    metric: MetricType
    index_file_size_mb: int
    id_mode: IdMode = IdMode.UNDECIDED
    index: IndexSetting = field(default_factory=IndexSetting)
    dtype: np.dtype[Any] = field(init=False, repr=False, compare=False)
    width: int = field(init=False, repr=False, compare=False)
    row_bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Every row and every query is held against them, so they are not computed each time.
        dtype, width = self.metric.dtype, self.metric.width(self.dimension)
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "row_bytes", width * dtype.itemsize)


@dataclass(frozen=True, slots=True)
class Partition:
    id: int
    collection_id: int
    tag: str


class Query(NamedTuple):
    """One search: `vectors` (nq, width), the k nearest wanted, the parsed search parameters, tag
    patterns.
    """

    vectors: Vectors
    k: int
    params: Mapping[str, Any] = MappingProxyType({})
    tags: tuple[str, ...] = ()


class Hits(NamedTuple):
    """Answers of a search: both arrays (nq, width), nearest first; missing hits have id -1 and
    float32 max.
    """

    ids: Ids
    distances: Floats

    @property
    def nq(self) -> int:
        return int(self.ids.shape[0])


_ERRORS = 1.65
"""Standard errors below a measured mean, 19 of 20 means are not."""


class RecallPoint(NamedTuple):
    """What an index was found to find with one value of its search parameter.

    Attributes:
        recall: the mean of some queries, `error` its standard error.
        seconds: of a processor, for a query, about, when the index was built.
    """

    value: int
    recall: float
    error: float
    seconds: float

    @property
    def least(self) -> float:
        """The recall that is relied on."""
        return self.recall - _ERRORS * self.error


@dataclass(frozen=True, slots=True)
class ScanStep:
    """One scan of a search: a segment, a run of small neighbours, or a block of unflushed rows.

    Attributes:
        kind: `tail`, `exact`, or the type of the index that was searched.
        segments: their ids, none for a tail.
        masked: how many of the `rows` were left out, deleted or of another partition.
        began: seconds from the beginning of the search; scans may run side by side.
        picked: the search parameters that a recall was turned into; none where it took a comparison
            of all rows, or was not asked for.
        curve: what was measured of the index for so many hits, where a recall was asked for.
    """

    kind: str
    segments: tuple[int, ...]
    rows: int
    masked: int
    began: float
    seconds: float
    picked: Mapping[str, int] = field(default_factory=dict)
    curve: tuple[RecallPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchSteps:
    """What a search did, and how many seconds each of its steps took.

    Attributes:
        metric: distances were computed in it.
        params: the search parameters that mean something to an index or a metric.
        scans: in storage order, unflushed rows last.
        skipped: segments and tail blocks in scope without a live row.
    """

    metric: str
    params: Mapping[str, float]
    plan_seconds: float
    scan_seconds: float
    reduce_seconds: float
    scans: tuple[ScanStep, ...]
    skipped: int


class Scanned(NamedTuple):
    """What one scan went over, as `ScanStep` says it: the same for every search of one plan."""

    kind: str
    segments: tuple[int, ...]
    rows: int
    masked: int


class Choice(NamedTuple):
    """What a scan made of a recall that was asked for, as `ScanStep` says it."""

    picked: Mapping[str, int]
    curve: tuple[RecallPoint, ...]


@dataclass(slots=True)
class WatchedSearch:
    """What a search did, as it was noted on the way: `steps` makes it presentable for who wants to
    read it.

    Numbers and names only: whoever keeps one keeps no segment. Not frozen, because a frozen one
    takes twice as long to make, and one is made for every search that somebody is told of.

    Attributes:
        scans: each with the seconds at which it began and ended, from the beginning of the search.
        choices: one for each scan, where a recall was asked for; None of one that has none.
    """

    metric: MetricType | None
    params: Mapping[str, float]
    plan_seconds: float
    scan_seconds: float
    reduce_seconds: float
    scans: Sequence[tuple[Scanned, float, float]]
    skipped: int
    choices: Sequence[Choice | None] = ()

    def steps(self) -> SearchSteps:
        return SearchSteps(
            metric="" if self.metric is None else self.metric.name,
            params=self.params,
            plan_seconds=self.plan_seconds,
            scan_seconds=self.scan_seconds,
            reduce_seconds=self.reduce_seconds,
            scans=tuple(
                ScanStep(*scanned, began, ended - began, *(choice or ()))
                for (scanned, began, ended), choice in zip(
                    self.scans, self.choices or repeat(None), strict=False
                )
            ),
            skipped=self.skipped,
        )


class RowMask:
    """Which of `rows` rows are live, as a packed bitmap (least significant bit first, as faiss
    reads it).

    Immutable: `without` makes a new mask. Bits past the last row are 0. `kept` is what kernels made
    of it.
    """

    __slots__ = ("bits", "dead", "kept", "rows")

    def __init__(self, bits: Bytes, rows: int, dead: int) -> None:
        self.bits, self.rows, self.dead = bits, rows, dead
        self.kept: dict[Any, Any] = {}

    def __reduce__(self) -> tuple[type[RowMask], tuple[Bytes, int, int]]:
        return RowMask, (self.bits, self.rows, self.dead)  # what kernels made of it is of here

    @classmethod
    def from_bool(cls, live: NDArray[np.bool_]) -> RowMask:
        bits = np.packbits(live, bitorder="little")
        return cls(bits, len(live), int(len(live) - np.count_nonzero(live)))

    @classmethod
    def all_live(cls, rows: int) -> RowMask:
        return cls.from_bool(np.ones(rows, dtype=bool))

    @property
    def live(self) -> int:
        return self.rows - self.dead

    def to_bool(self) -> NDArray[np.bool_]:
        """bool, shape (rows,)."""
        return np.unpackbits(self.bits, count=self.rows, bitorder="little").view(np.bool_)

    def contains(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each row number (any shape, all within range) is live."""
        live: NDArray[np.bool_] = ((self.bits[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1).view(
            np.bool_
        )
        return live

    def only_live(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row numbers (any shape, -1 for none) with -1 for those that are not live."""
        return np.where((rows >= 0) & self.contains(np.maximum(rows, 0)), rows, -1)

    def covers(self, other: RowMask | None) -> bool:
        """Whether every live row of `other`, of as many rows (None: all are live), is live here as
        well.
        """
        if other is None:
            return not self.dead
        covered = other.kept.get(self)
        if covered is None:
            covered = other.kept[self] = not np.any(other.bits & ~self.bits)
        return bool(covered)

    def without(self, rows: NDArray[np.int64]) -> RowMask:
        """This mask with `rows` dead as well; rows that are dead already are counted once."""
        fresh = np.unique(rows[self.contains(rows)])
        if not len(fresh):
            return self
        bits = self.bits.copy()
        np.bitwise_and.at(bits, fresh >> 3, ~(np.uint8(1) << (fresh & 7).astype(np.uint8)))
        return RowMask(bits, self.rows, self.dead + len(fresh))
