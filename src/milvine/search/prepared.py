"""Prepared search: everything of a search that does not depend on the numbers of its vectors.

A program asks for the same thing over and over, with other vectors. What it asks for is checked
against the definition of the version that is searched, and planned for that version, once: the
result is kept in the version and goes with it, so it can be about no other rows and no other
definition.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from milvine.errors import IllegalDimension, IllegalPartition
from milvine.index.params import scoring_metric
from milvine.search.check import check_params, check_topk, whole_topk
from milvine.search.executor import Executor
from milvine.search.plan import Plan, SegmentTask, plan_search, plan_segments
from milvine.search.portions import FREE_HITS, query_bytes
from milvine.search.reduce import fillers, reduce
from milvine.search.scan import scan
from milvine.search.stopwatch import Stopwatch
from milvine.segment.version import Version
from milvine.types import Collection, Hits, IndexType, MetricType, Query, Vectors

_KEPT_MAX = 64  # of one version; a program asks for few things
_FEW = 16  # at most so many parameters, and so many tags, has one that is kept
_TEXT_MAX = 1024  # characters of its parameters and tags
_PLAIN = frozenset({bool, int, float, str, type(None)})
SHARED_BYTES_MIN = 64 << 20
"""Fewer bytes are read in less time than the threads that wait take to go to sleep and be woken."""


class PreparedSearch:
    """A search that was checked and planned, of one version, for vectors that come later.

    Attributes:
        collection: the definition it was checked against.
        k, params, tags: what was asked for; the parameters are a copy.
        plan: what is read for it.
        metric: distances are computed in it.
        by_segment: it reads some segments alone, whatever its tags match.
        hits_per_query: fillers included: min(k, live rows + 1); 0 when nothing is stored in scope
            (specification 3.13).
        shared: it reads so many bytes, without an index, that searches of one query which ask for
            the same had better read them together (`engine/sharing.py`).
    """

    __slots__ = (
        "_uncounted",
        "by_segment",
        "collection",
        "hits_per_query",
        "k",
        "metric",
        "params",
        "plan",
        "shared",
        "tags",
    )

    def __init__(
        self,
        collection: Collection,
        k: int,
        params: Mapping[str, Any],
        tags: tuple[str, ...],
        plan: Plan,
        by_segment: bool,
    ) -> None:
        self.collection, self.plan = collection, plan
        self.k, self.params, self.tags = k, params, tags
        self.hits_per_query = min(k, plan.live + 1) if plan.tasks or plan.skipped else 0
        self.metric = _metric(collection, params)
        self.by_segment = by_segment
        self.shared = not by_segment and _whole_bytes(collection, plan) >= SHARED_BYTES_MIN
        self._uncounted = FREE_HITS // max(k * len(plan.tasks), 1)

    def search(self, vectors: Vectors, executor: Executor, watch: Stopwatch | None = None) -> Hits:
        """The k nearest live rows of each of the `vectors`, (nq, width).

        The answer is `hits_per_query` wide, fillers last; it has no rows at all when nothing is
        stored in scope (specification 3.13). A `watch` is told of the plan and of each step.

        Raises:
            IllegalDimension: as `check_vectors`.
            CorruptFile, StorageFailed: a segment cannot be read.
        """
        check_vectors(vectors, self.collection)
        nq = len(vectors)
        if not self.hits_per_query or not nq:
            return fillers(0, self.hits_per_query)
        query = Query(vectors, self.k, self.params, self.tags)
        if watch is not None:
            watch.planned(self.plan, self.metric, query)
        if nq <= self._uncounted:
            return self._found(query, executor, watch)
        return self._found_in_portions(query, executor, watch)

    def _found(self, query: Query, executor: Executor, watch: Stopwatch | None) -> Hits:
        tasks, nq, width, metric = (
            self.plan.tasks,
            len(query.vectors),
            self.hits_per_query,
            self.metric,
        )
        if watch is None:
            return reduce(executor.run(tasks, query, metric), nq, width, metric)
        partials = executor.run(tasks, query, metric, watch.scan if len(tasks) > 1 else scan)
        watch.scanned()
        hits = reduce(partials, nq, width, metric)
        watch.reduced()
        return hits

    def _found_in_portions(self, query: Query, executor: Executor, watch: Stopwatch | None) -> Hits:
        """The same, with as many queries at a time as there is memory for."""
        nq, each = len(query.vectors), query_bytes(self.k, self.plan.tasks)
        portion = max(executor.portion_bytes // each, 1)
        if nq <= portion:
            with executor.reserve(nq * each):
                return self._found(query, executor, watch)
        hits = fillers(nq, self.hits_per_query)
        for start in range(0, nq, portion):
            some = slice(start, start + portion)
            with executor.reserve(portion * each):
                part = self._found(query._replace(vectors=query.vectors[some]), executor, watch)
                hits.ids[some], hits.distances[some] = part.ids, part.distances
        return hits

    def search_exactly(self, vectors: Vectors) -> Hits:
        """As `search` in the collection's own metric, but without any index, to tell how much an
        index misses.

        Runs on the calling thread alone, one task after the other, so that its priority is that of
        all the work.
        """
        check_vectors(vectors, self.collection)
        if not self.plan.tasks or not len(vectors):
            return fillers(0, 0)
        query = Query(vectors, self.k, self.params, self.tags)
        metric = self.collection.metric
        partials = [scan(task, query, metric, 1, exact=True) for task in self.plan.tasks]
        return reduce(partials, len(vectors), self.hits_per_query, metric)


def check_vectors(vectors: Vectors, collection: Collection) -> None:
    """Whether `vectors` are (nq, width) of the collection's dtype, C-contiguous: kernels take
    addresses, and would read beyond the end of others.

    Raises:
        IllegalDimension: they are not.
    """
    width, dtype = collection.width, collection.dtype
    if (
        not isinstance(vectors, np.ndarray)
        or vectors.ndim != 2
        or vectors.shape[1] != width
        or vectors.dtype != dtype
        or not vectors.flags.c_contiguous
    ):
        found = (
            f"{vectors.dtype} {vectors.shape}" if isinstance(vectors, np.ndarray) else "no array"
        )
        raise IllegalDimension(
            f"The vectors are {found}; collection {collection.name} takes"
            f" {dtype} (n, {width}), C-contiguous"
        )


def prepare(
    version: Version,
    k: int,
    params: object = None,
    tags: Sequence[str] = (),
    segments: Set[int] = frozenset(),
) -> PreparedSearch:
    """The search of `version` for the k nearest rows, of the whole collection or of the partitions
    that `tags` match.

    With the ids of `segments`, those are searched and nothing else: neither tags nor unflushed rows
    matter then.

    Args:
        params: search parameters by name, or None; they are what JSON calls them.

    Raises, the first of:
        IllegalTopk: k is not within 1 to 16384.
        IllegalArgument: the parameters do not fit the index setting or the metric.
        IllegalPartition: a tag is no pattern.
        PartitionNotFound: no partition matches.
        SegmentNotFound: none of the segments is there.
    """
    if type(k) is not int:
        k = whole_topk(k)
    key = None if segments else _key(k, params, tags)
    if key is not None:
        found = version.prepared.get(key)
        if found is not None:
            return found  # type: ignore[no-any-return]
    made = _prepared(version, k, params, tags, segments)
    if key is not None and made.plan.lasting and _short(made):
        if len(version.prepared) >= _KEPT_MAX:
            version.prepared.clear()
        version.prepared[key] = made
    return made


def _key(k: int, params: object, tags: Sequence[str]) -> Hashable:
    """What makes two searches the same; None where that cannot be told without asking objects of
    the caller, whose answers are their own.
    """
    if params is None:
        params = {}
    if type(params) is not dict or type(tags) not in (tuple, list):
        return None
    # True equals 1, and is refused where 1 is not.
    given = [(key, value, type(value)) for key, value in params.items()]
    for key, _, kind in given:
        if type(key) is not str or kind not in _PLAIN:
            return None
    for tag in tags:
        if type(tag) is not str:
            return None
    return k, tuple(tags), tuple(given)


def _short(made: PreparedSearch) -> bool:
    """Whether a search is short enough to be kept."""
    values = made.params.values()
    if max(len(made.params), len(made.tags)) > _FEW:
        return False
    if any(isinstance(each, int) and each.bit_length() > 64 for each in values):
        return False
    texts = (*made.tags, *made.params, *(each for each in values if isinstance(each, str)))
    return sum(map(len, texts)) <= _TEXT_MAX


def _prepared(
    version: Version, k: int, params: object, tags: Sequence[str], segments: Set[int]
) -> PreparedSearch:
    collection = version.collection
    check_topk(k)
    tags = _texts(tags)
    check_params(params, k, collection)
    own = dict(params) if isinstance(params, Mapping) else {}
    plan = plan_segments(version, segments) if segments else _plan(version, tags)
    return PreparedSearch(collection, k, own, tags, plan, bool(segments))


def _texts(tags: Sequence[str]) -> tuple[str, ...]:
    try:
        texts = tuple(tags)
    except TypeError:
        texts = (tags,)  # type: ignore[assignment]
    if isinstance(tags, str) or not all(isinstance(each, str) for each in texts):
        raise IllegalPartition("Partition tags must be given as a sequence of texts")
    return texts


def _whole_bytes(collection: Collection, plan: Plan) -> int:
    """Bytes of the runs in which no row is left out: one pass compares them with several queries at
    once. None where there is an index, or for bits.
    """
    if collection.index.type is not IndexType.FLAT or collection.metric.is_binary:
        return 0
    whole = (each for each in plan.tasks if isinstance(each, SegmentTask) and each.mask is None)
    return sum(task.rows for task in whole) * collection.row_bytes


def _plan(version: Version, tags: tuple[str, ...]) -> Plan:
    """That of another search in the same scope, if one is kept."""
    for each in tuple(version.prepared.values()):
        if each.tags == tags:
            kept: Plan = each.plan
            return kept
    return plan_search(version, tags)


def _metric(collection: Collection, params: Mapping[str, Any]) -> MetricType:
    """Without an index, the search parameters may ask for another metric of the family
    (specification 3.13).
    """
    if collection.index.type is not IndexType.FLAT:
        return collection.metric
    return scoring_metric(params, collection.metric)
