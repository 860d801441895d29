"""Index builds: in a process of their own, at low priority, so that searches keep their interpreter
and their cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TypeAlias

from milvine.catalog.model import Edit, SegmentRecord
from milvine.config import Settings
from milvine.errors import BuildFailed, BuildStarved, DiskFull, StorageFailed, Unsupported
from milvine.events import BuildProgressed, BuildStalled, IndexBuilt
from milvine.index.base import Report
from milvine.index.codes.quantizer import pays
from milvine.index.registry import spec as index_spec
from milvine.index.spec import IndexInput
from milvine.interpreter import executable
from milvine.interrupts import foreign
from milvine.limits import MIB
from milvine.maintenance.build_admission import TURNS
from milvine.maintenance.builder import BuildSpec, build
from milvine.maintenance.process import Stalled, run_builder
from milvine.maintenance.reclaim import retire
from milvine.memory import memory_left
from milvine.memory_plan import BUILDER_BYTES, builder_bytes
from milvine.segment.version import LiveSegment
from milvine.state.collection import CollectionState
from milvine.state.stores import Stores
from milvine.storage.directory import NOWHERE, identity
from milvine.storage.failpoints import at
from milvine.types import Collection, IndexSetting, IndexType

_STALL_SECONDS = 120.0
_STALL_SECONDS_PER_WORK = 25e-9
"""Per row, dimension and unit of the build parameters: several times what the slowest stage takes
on a slow core.
"""
_WIDTH_LEAST, _EFFORT_LEAST, _EFFORT_MOST = 64, 2000, 1_000_000

Run: TypeAlias = Callable[[BuildSpec, Report, Callable[[], bool]], bool]
"""How a build is run: as `run_builder` does, or `Builders.run`."""


class BuildStopped(Exception):
    """`stop` ended a build. An exception, not a value: nobody may take it for a segment without
    rows.
    """


def build_segment(
    stores: Stores,
    state: CollectionState,
    segment_id: int,
    stop: Callable[[], bool],
    run: Run = run_builder,
) -> bool:
    """Build the index of one segment and show it; False when segment or setting changed meanwhile.
    Without an index, that is its codes, where such are made.

    A segment that has an index is searched with it until the new one takes its place. The new one
    leaves out the rows that the segment's tombstone file marks as deleted.

    Raises:
        BuildFailed: the builder failed; the segment stays as it is. A raw one is searched exactly.
    """
    each = state.segments.get(segment_id)
    if each is None:
        return False
    before = each.segment  # holds its files
    began = time.monotonic()
    collection = state.collection  # read once: its index may become another at any moment
    setting = collection.index
    if setting.type is IndexType.FLAT and not makes_codes(stores.settings, collection):
        return False

    def stopped() -> bool:
        return stop() or state.collection.index != setting

    try:
        record = build_index(stores, collection, before.record, stopped, run)
    except BuildStopped:
        return False
    done = stores.writer.call(lambda: _commit(stores, state, before.record, record))
    if done:
        seconds = time.monotonic() - began
        stores.events.emit(
            IndexBuilt(state.id, segment_id, setting.type.name, record.rows, seconds)
        )
    return done


def build_index(
    stores: Stores,
    collection: Collection,
    record: SegmentRecord,
    stop: Callable[[], bool],
    run: Run = run_builder,
) -> SegmentRecord:
    """Write the index file of a segment, durably. Nothing is committed. Where memory is short, it
    waits for its turn.

    Raises:
        BuildStopped: `stop` said so.
        BuildFailed: with the builder's own reason, or because there is too little memory to begin
            with.
    """
    try:
        if must_wait(collection, record.rows):
            _reporting(stores, collection, record)("waiting", 0)
        with TURNS.turn(_least(collection, record.rows), memory_left, stop) as mine:
            if not mine:
                raise BuildStopped
            memory = _allowance(collection, record, memory_left())
            output = f"index-{stores.ids.one()}.mlv"
            with (
                _failing_as_builds(record),
                _spec(stores, collection, record, memory, output) as spec,
            ):
                _run(stores, spec, _reporting(stores, collection, record), stop, run)
    finally:
        stores.builds.pop(record.id, None)
    size = stores.storage.size(output)
    return replace(record, index=collection.index, index_file=output, index_bytes=size)


def makes_codes(settings: Settings, collection: Collection) -> bool:
    """Whether segments of a collection get codes: where it has no index, and codes are small beside
    the rows.
    """
    return (
        collection.index.type is IndexType.FLAT
        and settings.index_codes != "off"
        and not collection.metric.is_binary
        and pays(collection.dimension)
    )


def must_wait(collection: Collection, rows: int) -> bool:
    """Whether the build of an index over so many rows would have to wait for others now. One that
    cannot begin does not wait: it fails.
    """
    try:
        return not TURNS.free(_least(collection, rows), memory_left)
    except BuildFailed:
        return False


@contextmanager
def _spec(
    stores: Stores, collection: Collection, record: SegmentRecord, memory: int, output: str
) -> Iterator[BuildSpec]:
    """What the builder of a segment is told. When the block ends, the file that it has filled gets
    the name `output`, durably; after an error nothing of it remains.
    """
    storage, dead = stores.storage, record.tombstone_file
    with ExitStack() as files:
        rows_path = files.enter_context(storage.local_file(record.rows_file))
        tombstone_path = files.enter_context(storage.local_file(dead)) if dead else ""
        output_path = files.enter_context(storage.create_at(output))
        yield BuildSpec(
            rows_file=record.rows_file,
            rows_path=str(rows_path),
            segment_id=record.id,
            output_path=str(output_path),
            collection_id=collection.id,
            dimension=collection.dimension,
            metric=int(collection.metric),
            index_type=int(collection.index.type),
            params_json=collection.index.params_json,
            threads=stores.settings.build_threads,
            stall_seconds=stall_seconds(record.rows, collection.dimension, collection.index),
            memory=memory,
            output_made=identity(output_path) or NOWHERE,
            tombstone_path=str(tombstone_path),
            codes=stores.settings.index_codes != "off",
        )


def take_out_indexes(
    stores: Stores,
    state: CollectionState,
    segments: Sequence[LiveSegment],
    setting: IndexSetting | None = None,
) -> None:
    """On the writer thread: these segments lose their index files; with `setting`, the collection
    gets another one.
    """
    before = state.files()
    changed = tuple(each.segment.record.without_index() for each in segments)
    stores.catalog.apply(Edit(state.id, changed=changed, index=setting))
    at("indexes.taken_out")
    if setting is not None:
        state.set_index(setting)
    for record, each in zip(changed, segments, strict=True):
        state.segments[record.id] = LiveSegment(state.open_segment(record), each.mask)
    state.publish()
    retire(stores, before - state.files())


def in_process_of_its_own(settings: Settings) -> bool:
    """Whether builds run in processes of their own."""
    return settings.build_in_subprocess and bool(executable())


def stall_seconds(rows: int, dimension: int, setting: IndexSetting) -> int:
    """CPU seconds that a builder may spend without getting any further: many times what its slowest
    stage takes.

    Not wall time, which says nothing on a busy machine.
    """
    numbers = (value for value in setting.params.values() if isinstance(value, int | float))
    effort = sum(min(max(0, value), _EFFORT_MOST) for value in numbers)
    work = rows * (dimension + _WIDTH_LEAST) * (effort + _EFFORT_LEAST)
    return int(_STALL_SECONDS + _STALL_SECONDS_PER_WORK * work)


def _allowance(collection: Collection, record: SegmentRecord, left: int) -> int:
    """Bytes that the builder of a segment may use where `left` bytes of memory are left; 0, any
    number, for 0.

    Raises:
        BuildFailed: it would have to use more than there are. It would be killed then, or something
            else would.
    """
    if not left:
        return 0
    least, most = _least(collection, record.rows), max(left - BUILDER_BYTES, 1)
    if least > most:
        name = collection.index.type.name
        raise BuildFailed(
            f"Cannot build the index of segment {record.id}: {name} over {record.rows} rows takes"
            f" about {least // MIB} MB of memory, and {most // MIB} MB are left"
        )
    return builder_bytes(left)


def _least(collection: Collection, rows: int) -> int:
    """Bytes that a builder takes however little it may use.

    Raises:
        BuildFailed: what adds the index type is not installed any more.
    """
    index, metric = collection.index, collection.metric
    over = IndexInput(rows, collection.dimension, metric, index.params)
    try:
        return index_spec(index.type, metric.is_binary).sizes.building(over, 1)
    except Unsupported as error:
        raise BuildFailed(f"Cannot build an index: {error}") from None


def _reporting(stores: Stores, collection: Collection, record: SegmentRecord) -> Report:
    """What keeps `stores.builds` up to date and tells the events, with the seconds from now on."""
    began, type_name, rows = time.monotonic(), collection.index.type.name, record.rows

    def report(stage: str, done: int) -> None:
        seconds = time.monotonic() - began
        now = BuildProgressed(
            collection.id, record.id, type_name, stage, min(done, rows), rows, seconds
        )
        stores.builds[record.id] = now
        stores.events.emit(now)

    return report


def _run(
    stores: Stores, spec: BuildSpec, report: Report, stop: Callable[[], bool], run: Run
) -> None:
    """Run the builder.

    Raises:
        BuildStopped: `stop` ended it.
        BuildFailed, and whatever else it failed of, where it is no process of its own or none
            could be started.
    """
    report("starting", 0)
    apart = in_process_of_its_own(stores.settings)
    try:
        finished = run(spec, report, stop) if apart else _build_here(spec, report)
    except Stalled:
        now = stores.builds[spec.segment_id]
        stalled = BuildStalled(
            now.collection_id, now.segment_id, now.index_type, now.stage, spec.stall_seconds
        )
        stores.events.emit(stalled)
        raise
    if not finished:
        raise BuildStopped


def _build_here(spec: BuildSpec, report: Report) -> bool:
    build(spec, report)
    return True


@contextmanager
def _failing_as_builds(record: SegmentRecord) -> Iterator[None]:
    """Whatever is raised becomes a BuildFailed in the words of a builder that is a process of its
    own.
    """
    try:
        yield
    except (BuildStopped, BuildFailed):
        raise
    except Exception as error:
        if foreign(error):
            raise
        kind = BuildStarved if isinstance(error, DiskFull) else BuildFailed
        what = f"Cannot build the index of segment {record.id}: {type(error).__name__}: {error}"
        raise kind(what) from error


def _commit(
    stores: Stores, state: CollectionState, before: SegmentRecord, record: SegmentRecord
) -> bool:
    assert record.index_file is not None
    each = state.segments.get(record.id)
    if (
        state.dropped
        or each is None
        or state.collection.index != record.index
        or not _as_before(each, before)
    ):
        retire(stores, (record.index_file,))
        return False
    current = replace(
        each.segment.record,
        index=record.index,
        index_file=record.index_file,
        index_bytes=record.index_bytes,
    )
    at("build.written")
    try:
        stores.catalog.apply(Edit(state.id, changed=(current,), last_id=stores.ids.last))
    except StorageFailed:
        stores.in_doubt((record.index_file,))
        raise
    at("build.committed")
    state.segments[record.id] = LiveSegment(state.open_segment(current), each.mask)
    state.publish()
    if before.index_file is not None:
        retire(stores, (before.index_file,))
    return True


def _as_before(each: LiveSegment, before: SegmentRecord) -> bool:
    """Whether the segment is still the one that was read, with the index that it had, if any."""
    now = each.segment.record
    return (now.rows_file, now.index_file) == (before.rows_file, before.index_file)
