"""A search without any index, to tell how much an index misses."""

from __future__ import annotations

from milvine.search.plan import plan_search
from milvine.search.reduce import fillers, reduce
from milvine.search.scan import scan
from milvine.segment.version import Version
from milvine.types import Hits, Query


def search_exactly(version: Version, query: Query) -> Hits:
    """As `milvine.search.run.search` in the collection's own metric, but exactly, one task after
    the other.

    Runs on the calling thread alone, so that its priority is that of all the work.

    Raises:
        PartitionNotFound: no partition matches.
    """
    plan = plan_search(version, query.tags)
    nq, width = len(query.vectors), min(query.k, plan.live + 1)
    if not plan.tasks or not nq:
        return fillers(0, 0)
    metric = version.collection.metric
    return reduce(
        [scan(task, query, metric, 1, exact=True) for task in plan.tasks], nq, width, metric
    )
