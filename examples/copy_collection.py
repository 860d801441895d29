"""Copy a collection from one server that speaks Milvus 1.x to another: from your old Milvus to
Milvine, for one.

    python examples/copy_collection.py NAME tcp://old-host:19530 tcp://localhost:19530
    python examples/copy_collection.py NAME tcp://old-host:19530 file:///var/lib/vectors  (embedded)

Copies schema, partitions, rows with their ids, and the index setting; then compares the counts.
Only calls of the 1.x client are used, so it runs with pymilvus 1.x as well. Nothing may write to
the source meanwhile: what is written during the copy may be missed. A collection whose server made
the ids keeps those ids, and new rows will need ids given by you.

Milvus 1.x allows several rows with one id, and gives one of them back: the others cannot be copied,
and are told of. Ends with 1 and one sentence when something went wrong; a collection that is there
already is never touched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from milvus import IndexType, MetricType, Milvus

BLOCK = 1000  # ids that one call may ask for
ATTEMPTS = 5  # to list segments while the server merges some of them


class CopyFailed(Exception):
    pass


def wanted(what: str, returned: Any) -> Any:
    """The value of a call, if it has one."""
    status, value = returned if isinstance(returned, tuple) else (returned, None)
    if not status.OK():
        raise CopyFailed(f"Cannot {what}: {status.message}")
    return value


def partitions_of(source: Milvus, name: str) -> list[str]:
    return [each.tag for each in wanted("list partitions", source.list_partitions(name))]


def ids_of(source: Milvus, name: str, tag: str) -> list[int]:
    """Ids of all live rows of a partition, in the order of its segments. Merges rename segments:
    then look again.
    """
    for _ in range(ATTEMPTS):
        stats = wanted("read statistics", source.get_collection_stats(name))
        segments = [
            segment["name"]
            for partition in stats["partitions"]
            if partition["tag"] == tag
            for segment in partition["segments"] or ()
        ]
        lists = [source.list_id_in_segment(name, segment) for segment in segments]
        if all(status.OK() for status, _ in lists):
            return [number for _, ids in lists for number in ids]
    raise CopyFailed(
        f"Cannot list the ids of partition {tag}: its segments keep changing. Stop what writes"
        " to it"
    )


def blocks(
    source: Milvus, name: str, tag: str, ids: list[int]
) -> Iterator[tuple[list[int], list[Any]]]:
    """Rows in blocks: ids and vectors. Rows that were deleted meanwhile are left out."""
    for start in range(0, len(ids), BLOCK):
        some = ids[start : start + BLOCK]
        vectors = wanted("read rows", source.get_entity_by_id(name, some, partition_tag=tag))
        found = [
            (number, vector) for number, vector in zip(some, vectors, strict=True) if len(vector)
        ]
        yield [number for number, _ in found], [vector for _, vector in found]


def copy_partition(source: Milvus, target: Milvus, name: str, tag: str) -> tuple[int, int]:
    """Rows copied, and rows left behind because another row has their id."""
    every = ids_of(source, name, tag)
    ids = list(dict.fromkeys(every))
    copied = 0
    for numbers, vectors in blocks(source, name, tag, ids):
        if numbers:
            wanted("insert rows", target.insert(name, vectors, ids=numbers, partition_tag=tag))
            copied += len(numbers)
        print(f"\r{tag}: {copied:,} of {len(ids):,} rows", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return copied, len(every) - len(ids)


def create(source: Milvus, target: Milvus, name: str) -> None:
    """The collection without rows."""
    if wanted("look at the target", target.has_collection(name)):
        raise CopyFailed(
            f"The target has a collection {name} already. Drop it, or copy to another server"
        )
    schema = wanted("read the schema", source.get_collection_info(name))
    parameters = {
        "collection_name": name,
        "dimension": schema.dimension,
        "index_file_size": schema.index_file_size,
        "metric_type": MetricType(schema.metric_type),
    }
    wanted("create the collection", target.create_collection(parameters))
    for tag in partitions_of(source, name):
        if tag != "_default":
            wanted(f"create partition {tag}", target.create_partition(name, tag))


def copy(source: Milvus, target: Milvus, name: str) -> int:
    """Copy everything; returns the number of rows.

    Raises:
        CopyFailed: a call failed, or the counts differ.
    """
    wanted("flush the source", source.flush([name]))
    create(source, target, name)
    copied = left = 0
    for tag in partitions_of(source, name):
        rows, twins = copy_partition(source, target, name, tag)
        copied, left = copied + rows, left + twins
    wanted("flush the target", target.flush([name]))
    before = wanted("count the source", source.count_entities(name))
    after = wanted("count the target", target.count_entities(name))
    if (before - left, copied) != (after, after):
        raise CopyFailed(
            f"The source has {before} rows ({left} of them with the id of another), the target"
            f" {after}"
        )
    index = wanted("read the index setting", source.get_index_info(name))
    if index.index_type != IndexType.FLAT:
        wanted(
            "build the index", target.create_index(name, IndexType(index.index_type), index.params)
        )
    if left:
        print(f"{left:,} rows have the id of another row and stayed behind", file=sys.stderr)
    return copied


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description="Copy a collection between servers that speak Milvus 1.x."
    )
    parser.add_argument("name")
    parser.add_argument("source", help="tcp://host:port, or file:///folder of an embedded Milvine")
    parser.add_argument("target", help="the same")
    given = parser.parse_args(arguments)
    source, target = Milvus(uri=given.source), Milvus(uri=given.target)
    try:
        print(
            f"{copy(source, target, given.name):,} rows of {given.name} copied, and counted on both"
            " sides"
        )
    except CopyFailed as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        source.close()
        target.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
