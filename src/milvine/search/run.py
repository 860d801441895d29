"""One search from a pinned version to hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from milvine.index.params import scoring_metric
from milvine.search.check import check_params, check_query, check_topk
from milvine.search.executor import Executor
from milvine.search.fetch import fetch
from milvine.search.plan import Plan, plan_search, plan_segments
from milvine.search.portions import few, query_bytes
from milvine.search.reduce import fillers, reduce
from milvine.search.scan import scan
from milvine.search.stopwatch import Stopwatch
from milvine.segment.version import Version
from milvine.types import Collection, Hits, Ids, IndexType, MetricType, Query


def search(
    version: Version,
    query: Query,
    executor: Executor,
    segments: Set[int] = frozenset(),
    watch: Stopwatch | None = None,
) -> Hits:
    """The k nearest live rows per query, of the whole collection or of the partitions its tags
    match.

    With the ids of `segments`, those are searched and nothing else: neither tags nor unflushed rows
    matter then. A `watch` is told of the plan and of each step.

    The answer is min(k, live rows + 1) wide, fillers last; it has no rows at all when nothing is
    stored in scope (specification 3.13).

    Raises:
        IllegalTopk, IllegalArgument, IllegalDimension: the query does not fit this version's
            definition.
        PartitionNotFound: no partition matches.
        SegmentNotFound: none of the segments is there.
    """
    if query.checked is not version.collection:
        check_query(query, version.collection)
    plan = plan_segments(version, segments) if segments else plan_search(version, query.tags)
    nq = len(query.vectors)
    if not plan.tasks and not plan.skipped:
        return fillers(0, 0)
    width = min(query.k, plan.live + 1)
    if not nq:
        return fillers(0, width)
    metric = _metric(version.collection, query)
    if watch is not None:
        watch.planned(plan, metric)
    if few(nq, query.k, plan.tasks):
        return _found(plan, query, executor, metric, watch)
    return _found_in_portions(plan, query, executor, metric, watch)


def _found(
    plan: Plan, query: Query, executor: Executor, metric: MetricType, watch: Stopwatch | None
) -> Hits:
    nq, width = len(query.vectors), min(query.k, plan.live + 1)
    if watch is None:
        return reduce(executor.run(plan.tasks, query, metric), nq, width, metric)
    partials = executor.run(plan.tasks, query, metric, watch.scan if len(plan.tasks) > 1 else scan)
    watch.scanned()
    hits = reduce(partials, nq, width, metric)
    watch.reduced()
    return hits


def _found_in_portions(
    plan: Plan, query: Query, executor: Executor, metric: MetricType, watch: Stopwatch | None
) -> Hits:
    """The same, with as many queries at a time as there is memory for."""
    nq, each = len(query.vectors), query_bytes(query.k, plan.tasks)
    portion = max(executor.portion_bytes // each, 1)
    if nq <= portion:
        with executor.reserve(nq * each):
            return _found(plan, query, executor, metric, watch)
    hits = fillers(nq, min(query.k, plan.live + 1))
    for start in range(0, nq, portion):
        some = slice(start, start + portion)
        with executor.reserve(portion * each):
            part = _found(
                plan, replace(query, vectors=query.vectors[some]), executor, metric, watch
            )
            hits.ids[some], hits.distances[some] = part.ids, part.distances
    return hits


def search_by_id(
    version: Version,
    ids: Ids,
    k: int,
    params: Mapping[str, Any],
    tags: Sequence[str],
    executor: Executor,
    watch: Stopwatch | None = None,
) -> Hits:
    """The k nearest live rows to each of the rows that `ids` (n,) name, which are looked up in the
    whole collection.

    Shaped as by `search`; the row of an id that is not stored is all fillers (specification 3.15).

    Raises:
        NothingStored: the collection is empty.
        PartitionNotFound, IllegalTopk, IllegalArgument: as `search`.
    """
    check_topk(k)
    check_params(params, k, version.collection)
    found, vectors = fetch(version, ids, ())
    query = Query(vectors[found], k, params, tuple(tags), version.collection)
    hits = search(version, query, executor, watch=watch)
    width = hits.ids.shape[1]
    answer = fillers(len(ids) if width else 0, width)
    if width:
        answer.ids[found], answer.distances[found] = hits.ids, hits.distances
    return answer


def _metric(collection: Collection, query: Query) -> MetricType:
    """Without an index, the search parameters may ask for another metric of the family
    (specification 3.13).
    """
    if collection.index.type is not IndexType.FLAT:
        return collection.metric
    return scoring_metric(query.params, collection.metric)
