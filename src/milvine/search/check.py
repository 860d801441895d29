"""What a query must satisfy before a kernel sees it, held against the definition of the version
that is searched.

Kernels take addresses: queries of another width would be read beyond their end. Whoever checked a
query before may have looked at another definition of the same name, so the mark that it leaves in
the query is that definition; where it is the very one that is searched, the same checks would pass
again.
"""

from __future__ import annotations

from milvine.errors import IllegalDimension, IllegalTopk
from milvine.index.params import check_search_params, scoring_metric
from milvine.limits import TOPK_MAX
from milvine.types import Collection, Query, Vectors


def check_query(query: Query, collection: Collection) -> None:
    """Whether a collection that is defined so can be searched with `query`.

    Raises:
        IllegalTopk: k is not within 1 to 16384.
        IllegalArgument: the parameters do not fit the index setting or the metric.
        IllegalDimension: the vectors are not (nq, width) of the collection's dtype, C-contiguous.
    """
    check_topk(query.k)
    check_params(query.params, query.k, collection)
    check_vectors(query.vectors, collection)


def check_topk(topk: int) -> None:
    """Raises IllegalTopk."""
    if not 1 <= topk <= TOPK_MAX:
        raise IllegalTopk(
            f"Invalid topk: {topk}. The topk must be within the range of 1 ~ {TOPK_MAX}."
        )


def check_params(params: object, topk: int, collection: Collection) -> None:
    """Search parameters against the collection's index setting, built or not, and its metric.

    Raises:
        IllegalArgument.
    """
    check_search_params(collection.index.type, params, topk)
    scoring_metric(params, collection.metric)


def check_vectors(vectors: Vectors, collection: Collection) -> None:
    """Raises IllegalDimension."""
    width, dtype = collection.width, collection.dtype
    if (
        vectors.ndim != 2
        or vectors.shape[1] != width
        or vectors.dtype != dtype
        or not vectors.flags.c_contiguous
    ):
        raise IllegalDimension(
            f"The vectors are {vectors.dtype} {vectors.shape}; collection {collection.name} takes"
            f" {dtype} (n, {width}), C-contiguous"
        )
