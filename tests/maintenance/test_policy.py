"""The policies, with literals; and planning again on what remains gives the rest of the plan."""

from hypothesis import given
from hypothesis import strategies as st

from milvine.limits import MIB
from milvine.maintenance.policy import (
    SegmentFacts,
    TailFacts,
    builds,
    compactions,
    flush_due,
    forced_builds,
    forced_merges,
    merges,
)


def segment(number, mib=1, partition=1, rows=1000, dead=0, indexed=False):
    return SegmentFacts(number, partition, rows, dead, mib * MIB, indexed)


def test_four_of_a_class_are_merged_three_are_not():
    assert merges([segment(i) for i in range(3)], 1024 * MIB) == []
    assert merges([segment(i) for i in range(4)], 1024 * MIB) == [(0, 1, 2, 3)]


def test_partitions_classes_and_indexed_segments_are_kept_apart():
    mixed = [segment(i, partition=i % 2) for i in range(6)] + [
        segment(10 + i, mib=8) for i in range(3)
    ]
    assert merges(mixed, 1024 * MIB) == []
    assert merges([segment(i, indexed=i < 2) for i in range(5)], 1024 * MIB) == []


def test_segments_at_the_target_are_left_alone():
    assert merges([segment(i, mib=10) for i in range(8)], 10 * MIB) == []
    assert forced_merges([segment(i, mib=10) for i in range(8)], 10 * MIB) == []


def test_forced_merges_pack_to_the_target():
    assert forced_merges([segment(1), segment(2)], 1024 * MIB) == [(1, 2)]
    assert forced_merges([segment(i, mib=4) for i in range(5)], 10 * MIB) == [(0, 1, 2), (3, 4)]
    assert (
        forced_merges([segment(1), segment(2, partition=2), segment(3, indexed=True)], 1024 * MIB)
        == []
    )


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(1, 64))
def test_forced_merges_converge(sizes, target):
    segments = [segment(i, mib=size) for i, size in enumerate(sizes)]
    groups = forced_merges(segments, target * MIB)
    used = [key for group in groups for key in group]
    assert len(used) == len(set(used))
    by_id = {s.id: s for s in segments}
    merged = [
        segment(1000 + n, mib=sum(by_id[k].data_bytes for k in g) // MIB)
        for n, g in enumerate(groups)
    ]
    remaining = [s for s in segments if s.id not in used] + merged
    assert len([s for s in remaining if s.data_bytes < target * MIB]) <= 2
    assert sum(s.data_bytes for s in remaining) == sum(s.data_bytes for s in segments)


def test_builds_when_large_or_when_too_much_is_raw():
    assert builds([segment(1, mib=20, rows=5000), segment(2)], 10 * MIB, 100_000) == [1]
    assert builds([segment(1, mib=20, rows=4095)], 10 * MIB, 0) == []
    assert builds([segment(1, rows=5000), segment(2, rows=100)], 1024 * MIB, 5000) == [1]
    assert builds([segment(1, mib=20, indexed=True)], 10 * MIB, 0) == []
    assert forced_builds([segment(1, rows=4096), segment(2, rows=4095)]) == [1]


def test_compaction_at_a_tenth_or_all():
    rows = [segment(1, dead=99), segment(2, dead=100), segment(3, rows=5, dead=5), segment(4)]
    assert compactions(rows) == [2, 3]


def test_a_small_young_tail_may_wait():
    assert not flush_due(TailFacts(10, 1.0, 0), 100, 60, 1000)
    assert flush_due(TailFacts(100, 1.0, 0), 100, 60, 1000)
    assert flush_due(TailFacts(10, 60.0, 0), 100, 60, 1000)
    assert flush_due(TailFacts(10, 1.0, 1000), 100, 60, 1000)
