"""The partitions that a version shows: a newer set shares with the older ones and changes none of
them.
"""

from __future__ import annotations

from milvine.segment.version import PartitionSet
from milvine.types import Partition


def tags(partitions: PartitionSet) -> list[str]:
    return [partition.tag for partition in partitions.partitions]


def test_a_set_that_grows_leaves_the_smaller_ones_as_they_are() -> None:
    sets = [PartitionSet((Partition(1, 1, "_default"),))]
    for number in range(2, 6):
        sets.append(sets[-1].with_new(Partition(number, 1, f"p{number}")))
    for count, each in enumerate(sets, 1):
        assert tags(each) == ["_default", *(f"p{number}" for number in range(2, count + 1))]
        found = [number for number in range(2, 6) if each.find(f"p{number}")]
        assert found == list(range(2, count + 1))


def test_a_tag_that_was_dropped_and_made_anew_is_another_partition() -> None:
    first, second = Partition(2, 1, "p"), Partition(3, 1, "p")
    old = PartitionSet((Partition(1, 1, "_default"), first))
    without = old.without(first)
    new = without.with_new(second)
    assert (old.find("p"), without.find("p"), new.find("p")) == (first, None, second)
    assert (tags(without), tags(new)) == (["_default"], ["_default", "p"])
