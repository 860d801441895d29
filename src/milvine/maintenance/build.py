"""Index builds: in a process of their own, at low priority, so that searches keep their interpreter and their cores."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from milvine.catalog.model import Edit, SegmentRecord
from milvine.errors import BuildFailed
from milvine.events import IndexBuilt
from milvine.ingest.state import CollectionState
from milvine.ingest.stores import Stores
from milvine.maintenance.builder import BuildSpec, build
from milvine.maintenance.reclaim import retire
from milvine.segment.version import LiveSegment
from milvine.storage.local import TEMPORARY
from milvine.types import Collection, IndexSetting

_POLL_SECONDS = 0.02
_START = (
    "import json,sys;sys.path[:]=json.loads(sys.argv[1]);"
    "from milvine.maintenance.builder import main;sys.exit(main(sys.argv[2]))"
)


class BuildStopped(Exception):
    """`stop` ended a build. An exception, not a value: nobody may take it for a segment without rows."""


def build_segment(stores: Stores, state: CollectionState, segment_id: int, stop: Callable[[], bool]) -> bool:
    """Build the index of one raw segment and show it; False when segment or setting changed meanwhile.

    Raises:
        BuildFailed: the builder failed; the segment stays raw and is searched exactly.
    """
    each = state.segments.get(segment_id)
    if each is None or each.segment.record.index_file is not None:
        return False
    began = time.monotonic()
    setting = state.collection.index

    def stopped() -> bool:
        return stop() or state.collection.index != setting

    try:
        record = build_index(stores, state.collection, each.segment.record, stopped)
    except BuildStopped:
        return False
    done = stores.writer.call(lambda: _commit(stores, state, record))
    if done:
        seconds = time.monotonic() - began
        stores.events.emit(IndexBuilt(state.id, segment_id, setting.type.name, record.rows, seconds))
    return done


def build_index(
    stores: Stores, collection: Collection, record: SegmentRecord, stop: Callable[[], bool]
) -> SegmentRecord:
    """Write the index file of a segment, durably. Nothing is committed.

    Raises:
        BuildStopped: `stop` said so.
        BuildFailed: with the builder's own reason.
    """
    spec = BuildSpec(
        folder=str(stores.storage.folder),
        rows_file=record.rows_file,
        segment_id=record.id,
        output=f"index-{stores.ids.one()}.mlv",
        collection_id=collection.id,
        dimension=collection.dimension,
        metric=int(collection.metric),
        index_type=int(collection.index.type),
        params_json=collection.index.params_json,
        threads=stores.settings.build_threads,
    )
    if stores.settings.build_in_subprocess and sys.executable:
        _run_process(stores, spec, stop)
    else:
        build(spec)
    size = stores.storage.size(spec.output)
    return replace(record, index=collection.index, index_file=spec.output, index_bytes=size)


def take_out_indexes(
    stores: Stores, state: CollectionState, segments: Sequence[LiveSegment], setting: IndexSetting | None = None
) -> None:
    """On the writer thread: these segments lose their index files; with `setting`, the collection gets another one."""
    before = state.files()
    changed = tuple(each.segment.record.without_index() for each in segments)
    stores.catalog.apply(Edit(state.id, changed=changed, index=setting))
    if setting is not None:
        state.set_index(setting)
    for record, each in zip(changed, segments, strict=True):
        state.segments[record.id] = LiveSegment(state.open_segment(record), each.mask)
    state.publish()
    retire(stores, before - state.files())


def _run_process(stores: Stores, spec: BuildSpec, stop: Callable[[], bool]) -> None:
    """Returns when the builder finished. It ends by itself when this process dies."""
    arguments = [sys.executable, "-c", _START, json.dumps(sys.path), spec.to_json()]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe) as process:
        while process.poll() is None:
            if stop():
                process.kill()
                process.wait()
                break
            time.sleep(_POLL_SECONDS)
        assert process.stderr is not None
        reason = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        code = process.returncode
    if code == 0:
        return
    stores.storage.remove(spec.output + TEMPORARY)
    if stop():
        raise BuildStopped
    told = reason[-1] if reason else f"the builder ended with code {code}" + (" (out of memory?)" if code == -9 else "")
    raise BuildFailed(f"Cannot build the index of segment {spec.segment_id}: {told}")


def _commit(stores: Stores, state: CollectionState, record: SegmentRecord) -> bool:
    assert record.index_file is not None
    each = state.segments.get(record.id)
    if state.dropped or each is None or state.collection.index != record.index or not _raw(each, record):
        retire(stores, (record.index_file,))
        return False
    current = replace(
        each.segment.record, index=record.index, index_file=record.index_file, index_bytes=record.index_bytes
    )
    stores.catalog.apply(Edit(state.id, changed=(current,), last_id=stores.ids.last))
    state.segments[record.id] = LiveSegment(state.open_segment(current), each.mask)
    state.publish()
    return True


def _raw(each: LiveSegment, record: SegmentRecord) -> bool:
    """Whether the segment is still the one that was read, and has no index yet."""
    now = each.segment.record
    return now.rows_file == record.rows_file and now.index_file is None
