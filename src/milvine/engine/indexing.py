"""create_index, drop_index, compact: maintenance that a caller waits for."""

from __future__ import annotations

from functools import partial

from milvine.engine.definition_checks import check_index
from milvine.errors import BuildFailed, CollectionNotFound
from milvine.index.registry import kernel
from milvine.limits import INDEX_DEAD_MAX, MIB
from milvine.maintenance.build import (
    build_segment,
    in_process_of_its_own,
    makes_codes,
    take_out_indexes,
)
from milvine.maintenance.flush import flush
from milvine.maintenance.merge import merge
from milvine.maintenance.policy import (
    codes_due,
    compactions,
    forced_builds,
    forced_merges,
    rebuilds,
)
from milvine.maintenance.process import Builders
from milvine.maintenance.worker import facts, heal
from milvine.state.collection import CollectionState
from milvine.state.stores import Stores
from milvine.types import IndexSetting, IndexType


def create_index(
    stores: Stores, state: CollectionState, setting: IndexSetting, builders: Builders
) -> None:
    """Flush, store the setting, merge small raw segments, build all that have 4096 rows or more
    (3.5).

    An index that holds more deleted rows than INDEX_DEAD_MAX is built anew, and so is one whose
    file is missing, or was found to be damaged.

    Raises:
        Unsupported: no kernel for this type; nothing changed.
        IllegalIndexType, IllegalArgument, IllegalDimension: it does not fit the collection; nothing
            changed.
        BuildFailed: the setting is stored, segments that could not be built are searched exactly.
        CollectionNotFound: dropped meanwhile.
    """
    # What cannot be built is refused before anything changes: it may have been checked for another
    # of the name.
    check_index(setting, state.collection)
    kernel(setting.type, state.collection.metric.is_binary)
    if _builds(stores, state, setting):
        builders.prepare()  # it starts while this thread flushes, commits and merges
    flush(stores, state)
    # Before the lock: a background build of the old setting stops at once.
    store_setting(stores, state, setting)
    with state.maintaining:
        merge_small(stores, state)
        if setting.type is IndexType.FLAT and not makes_codes(stores.settings, state.collection):
            return
        for each in state.version.segments:
            each.segment.open_index_file()
        heal(stores, state)
        _build_all(stores, state, builders)
    if state.dropped:
        raise CollectionNotFound.named(state.collection.name)


def _builds(stores: Stores, state: CollectionState, setting: IndexSetting) -> bool:
    """Whether `create_index` is likely to build something, in a process."""
    if not in_process_of_its_own(stores.settings):
        return False
    if setting.type is IndexType.FLAT:
        return False
    version, indexed = state.version, 0
    if version.collection.index == setting:
        indexed = sum(
            each.segment.rows for each in version.segments if each.segment.record.index_file
        )
    due = rebuilds(facts(state), INDEX_DEAD_MAX) if indexed else []
    return bool(due) or version.live_rows() - indexed >= stores.settings.index_rows_min


def _build_all(stores: Stores, state: CollectionState, builders: Builders) -> None:
    """Every segment that wants an index is tried; the first failure is raised at the end, but for
    codes: searches are the same without them, and the background tries again.
    """
    failures, now = [], facts(state)
    least = stores.settings.index_rows_min
    if state.collection.index.type is IndexType.FLAT:
        wanted = codes_due(now, least)
    else:
        wanted = forced_builds(now, least) + rebuilds(now, INDEX_DEAD_MAX)
    for number, segment_id in enumerate(wanted, 1):
        run = partial(builders.run, another=number < len(wanted))
        try:
            build_segment(stores, state, segment_id, lambda: _stopped(stores, state), run)
        except BuildFailed as failed:
            failures.append(failed)
    if failures and state.collection.index.type is not IndexType.FLAT:
        raise failures[0]


def store_setting(stores: Stores, state: CollectionState, setting: IndexSetting) -> None:
    """Make `setting` the collection's; a different one takes the index files of the old with it."""

    def run() -> None:
        if state.dropped:
            raise CollectionNotFound.named(state.collection.name)
        if state.collection.index == setting:
            return
        indexed = [each for each in state.segments.values() if each.segment.record.index_file]
        take_out_indexes(stores, state, indexed, setting)

    stores.writer.call(run)


def merge_small(stores: Stores, state: CollectionState) -> None:
    """Pack the small raw segments (the forced rule of 3.21)."""
    for group in forced_merges(facts(state), state.collection.index_file_size_mb * MIB):
        merge(stores, state, group, lambda: _stopped(stores, state))


def compact(stores: Stores, state: CollectionState) -> None:
    """Rewrite the segments of which a tenth or more is deleted (3.20).

    Of the others, an index that holds more deleted rows than INDEX_DEAD_MAX is built anew.

    Raises:
        BuildFailed: an index could not be built; segments are as they were, or rewritten.
    """
    if state.dirty:  # a build leaves out what a tombstone file marks
        flush(stores, state)

    def stop() -> bool:
        return _stopped(stores, state)

    with state.maintaining:
        for segment_id in compactions(facts(state)):
            merge(stores, state, (segment_id,), stop)
        for segment_id in rebuilds(facts(state), INDEX_DEAD_MAX):
            build_segment(stores, state, segment_id, stop)


def _stopped(stores: Stores, state: CollectionState) -> bool:
    return state.dropped or stores.closing.is_set()
