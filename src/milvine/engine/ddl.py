"""Definitions: collections and partitions. Each runs on the writer thread, between two groups."""

from __future__ import annotations

from milvine.catalog.tags import checked_tag
from milvine.engine.definition_checks import check_name, checked_metric
from milvine.errors import (
    CollectionExists,
    CollectionNotFound,
    DefaultPartitionDrop,
    IllegalPartition,
    PartitionNotFound,
)
from milvine.limits import DEFAULT_TAG, INDEX_FILE_SIZE_MIN_MB
from milvine.maintenance.reclaim import retire
from milvine.state.collection import CollectionState
from milvine.state.stores import Stores
from milvine.storage.failpoints import at
from milvine.types import MetricType


def create_collection(
    stores: Stores, name: str, dimension: int, index_file_size_mb: int, metric: MetricType
) -> CollectionState:
    """Raises CollectionExists, IllegalCollectionName, IllegalDimension,
    IllegalArgument, IllegalMetricType."""
    check_name(name)
    # No door lets 0 pass; here it is a collection whose segments are never
    # merged, for who wants many.
    metric = checked_metric(dimension, index_file_size_mb or INDEX_FILE_SIZE_MIN_MB, metric)

    def run() -> CollectionState:
        if name in stores.names:
            raise CollectionExists
        stored = stores.catalog.create_collection(
            name, dimension, metric, index_file_size_mb, stores.log.last_lsn
        )
        state = CollectionState(stored, stores.files)
        stores.take_in(state)
        return state

    return stores.writer.call(run)


def drop_collection(stores: Stores, state: CollectionState) -> None:
    """Raises CollectionNotFound when somebody else dropped it first."""

    def run() -> None:
        if state.dropped:
            raise CollectionNotFound.named(state.collection.name)
        stores.catalog.drop_collection(state.id, stores.ids.last)
        at("drop.committed")
        state.dropped, held = True, state.pending_lsn is not None
        del stores.states[state.id], stores.names[state.collection.name]
        retire(stores, state.files())
        state.segments.clear()
        state.memtable.release(len(state.memtable.blocks))
        state.pending_lsn = None
        state.publish()
        at("drop.published")
        if held:
            stores.trim_log()

    stores.writer.call(run)


def create_partition(stores: Stores, state: CollectionState, tag: str) -> None:
    """Raises IllegalPartition when the tag exists, is none, or there are too many."""
    tag = checked_tag(tag)

    def run() -> None:
        _check(state)
        limit = stores.settings.max_partition_num
        if len(state.partitions) - 1 >= limit:
            raise IllegalPartition(f"The number of partitions exceeds the upper limit({limit})")
        if state.version.partition(tag):
            raise IllegalPartition("Duplicate partition is not allowed")
        state.add_partition(stores.catalog.create_partition(state.id, tag))

    stores.writer.call(run)


def drop_partition(stores: Stores, state: CollectionState, tag: str) -> None:
    """Raises PartitionNotFound."""

    def run() -> None:
        _check(state)
        if tag == DEFAULT_TAG:
            raise DefaultPartitionDrop
        partition = state.version.partition(tag)
        if partition is None:
            raise PartitionNotFound.named(state.collection.name, tag)
        stores.catalog.drop_partition(partition, stores.ids.last)
        at("drop.committed")
        before = state.files()
        state.drop_partition(partition)
        state.publish()
        retire(stores, before - state.files())

    stores.writer.call(run)


def _check(state: CollectionState) -> None:
    if state.dropped:
        raise CollectionNotFound.named(state.collection.name)
