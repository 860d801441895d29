"""Whether the hits of an exact search are those that the model calls for."""

from __future__ import annotations

from collections import Counter

import numpy as np

from milvine.limits import FILLER_DISTANCE, FILLER_ID
from milvine.testing.model import ModelDatabase, distances
from milvine.types import Floats, Hits, Ids, Query, Vectors


def check_hits(model: ModelDatabase, name: str, query: Query, hits: Hits) -> None:
    """Whether they are the nearest rows that the model has, nearest first, each as often as it is
    there; of those as far away as the last, any.
    """
    scope = model.table(name).matching(query.tags)
    ids: Ids = np.concatenate([rows.ids for rows in scope])
    vectors: Vectors = np.concatenate([rows.vectors for rows in scope])
    metric = model.definition(name).metric
    if hits.nq == 0:
        assert not len(ids)
        return
    assert (
        hits.ids.shape == hits.distances.shape == (len(query.vectors), min(query.k, len(ids) + 1))
    )
    true = distances(query.vectors, vectors, metric)
    for row, all_of_them in enumerate(true):
        # A stored row may be -1.
        real = (hits.ids[row] != FILLER_ID) | (hits.distances[row] != FILLER_DISTANCE)
        order = np.lexsort((ids, -all_of_them if metric.larger_is_closer else all_of_them))[
            : query.k
        ]
        order = order[~np.isnan(all_of_them[order])]
        assert hits.distances[row][real].tolist() == all_of_them[order].tolist()
        last = all_of_them[order[-1]] if len(order) else 0
        expected, got = (
            _pairs(ids[order], all_of_them[order]),
            _pairs(hits.ids[row][real], hits.distances[row][real]),
        )
        among = _pairs(ids, all_of_them)
        assert {p: n for p, n in got.items() if p[1] != last} == {
            p: n for p, n in expected.items() if p[1] != last
        }
        assert got <= among, f"hits that are not there: {got - among}"


def _pairs(ids: Ids, found: Floats) -> Counter[tuple[int, float]]:
    return Counter(zip(ids.tolist(), found.tolist(), strict=True))
