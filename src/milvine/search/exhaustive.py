"""A search without any index, to tell how much an index misses."""

from __future__ import annotations

from milvine.search.plan import plan, select_partitions
from milvine.search.reduce import fillers, reduce
from milvine.search.scan import scan
from milvine.segment.version import Version
from milvine.types import Hits, Query


def search_exactly(version: Version, query: Query) -> Hits:
    """As `milvine.search.run.search` in the collection's own metric, but exactly, one task after the other.

    Runs on the calling thread alone, so that its priority is that of all the work.

    Raises:
        PartitionNotFound: no partition matches.
    """
    tasks = [task for task in plan(version, select_partitions(version, query.tags)) if task.live]
    nq, width = len(query.vectors), min(query.k, sum(task.live for task in tasks) + 1)
    if not tasks or not nq:
        return fillers(0, 0)
    metric = version.collection.metric
    return reduce([scan(task, query, metric, 1, exact=True) for task in tasks], nq, width, metric)
