"""One search from a pinned version to hits."""

from __future__ import annotations

from milvine.search.executor import Executor
from milvine.search.plan import plan, select_partitions
from milvine.search.reduce import fillers, reduce
from milvine.segment.version import Version
from milvine.types import Hits, Query


def search(version: Version, query: Query, executor: Executor) -> Hits:
    """The k nearest live rows per query, of the whole collection or of the partitions its tags match.

    The answer is min(k, live rows + 1) wide, fillers last; it has no rows at all when nothing is stored in scope
    (specification 3.13).

    Raises:
        PartitionNotFound: no partition matches.
    """
    tasks = plan(version, select_partitions(version, query.tags))
    nq = len(query.vectors)
    if not tasks:
        return fillers(0, 0)
    live = sum(task.live for task in tasks)
    width = min(query.k, live + 1)
    partials = executor.run([task for task in tasks if task.live], query, version.collection.metric)
    return reduce(partials, nq, width, version.collection.metric)
