"""Reduce equals sorting everything; tag patterns as the specification says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvine.errors import IllegalPartition, PartitionNotFound
from milvine.limits import FILLER_DISTANCE
from milvine.search.plan import select_partitions
from milvine.search.reduce import fillers, reduce
from milvine.segment.version import PartitionSet, SegmentSet, Version
from milvine.types import Collection, Hits, MetricType, Partition

HIT = st.tuples(st.integers(-5, 50), st.integers(0, 6))


@given(
    st.lists(st.lists(HIT, min_size=1, max_size=30), max_size=4), st.integers(1, 20), st.booleans()
)
def test_equal_to_sorting_everything(parts, width, larger):
    metric = MetricType.IP if larger else MetricType.L2
    sign = -1 if larger else 1
    partials = []
    for part in parts:
        ordered = sorted(part, key=lambda hit: (sign * hit[1], hit[0]))
        ids = np.array([[hit[0] for hit in ordered] + [-1]], np.int64)
        distances = np.array([[float(hit[1]) for hit in ordered] + [FILLER_DISTANCE]], np.float32)
        partials.append(Hits(ids, distances))
    found = reduce(partials, 1, width, metric)
    every = sorted(
        (hit for part in parts for hit in part), key=lambda hit: (sign * hit[1], hit[0])
    )[:width]
    missing = width - len(every)
    assert found.ids[0].tolist() == [hit[0] for hit in every] + [-1] * missing
    assert (
        found.distances[0].tolist()
        == [float(hit[1]) for hit in every] + [FILLER_DISTANCE] * missing
    )


def test_fillers():
    empty = fillers(2, 1)
    assert empty.ids.tolist() == [[-1], [-1]] and (empty.distances == FILLER_DISTANCE).all()


def version(*tags):
    partitions = tuple(Partition(number, 1, tag) for number, tag in enumerate(("_default", *tags)))
    return Version(
        Collection(1, "c", 4, MetricType.L2, 1), PartitionSet(partitions), SegmentSet(()), ()
    )


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ([], None),
        (["_default"], {0}),
        ([" a \n"], {1}),
        (["a.*"], {1, 2, 3}),
        ([".*"], {1, 2, 3, 4}),
        (["(.*)"], {1, 2, 3, 4}),
        (["a.b"], {2, 3}),
        (["a", "nothing"], {1}),
        (["x+"], {4}),
        (["b"], None),
    ],
)
def test_patterns(patterns, chosen):
    these = version("a", "a.b", "axb", "x+")
    if patterns == ["b"]:
        with pytest.raises(PartitionNotFound, match="^The specified partition does not exist$"):
            select_partitions(these, patterns)
        return
    found = select_partitions(these, patterns)
    assert found == (None if chosen is None else frozenset(chosen))


def test_a_pattern_that_is_neither_tag_nor_expression():
    with pytest.raises(IllegalPartition, match=r"Invalid partition tag pattern: \(x"):
        select_partitions(version("a"), ["(x"])
    assert select_partitions(version("(x"), ["(x"]) == {1}


def test_hits_at_infinity_come_before_fillers_and_a_stored_id_of_minus_one_is_a_hit():
    near = Hits(
        np.array([[9, 4, -1]], np.int64), np.array([[1, np.inf, FILLER_DISTANCE]], np.float32)
    )
    far = Hits(
        np.array([[-1, 2, -1]], np.int64), np.array([[np.inf, np.inf, FILLER_DISTANCE]], np.float32)
    )
    for width in (1, 5, 6):
        found = reduce([near, far], 1, width, MetricType.TANIMOTO)
        assert found.ids[0].tolist() == [9, -1, 2, 4, -1, -1][:width]
        assert (
            found.distances[0].tolist()
            == [1, np.inf, np.inf, np.inf, FILLER_DISTANCE, FILLER_DISTANCE][:width]
        )


def test_narrowing_keeps_enough_for_every_query():
    ids = np.array([[-1] * 40, list(range(40))], np.int64)
    distances = np.where(ids < 0, FILLER_DISTANCE, 40 - ids).astype(np.float32)
    found = reduce([Hits(ids, distances)], 2, 3, MetricType.L2)
    assert found.ids.tolist() == [[-1, -1, -1], [39, 38, 37]]
