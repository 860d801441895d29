"""A reference to segments, opened by another process over the same storage, gives the same rows."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CorruptFile, MilvineError, StorageFailed
from milvine.interpreter import running
from milvine.search.plan import SegmentTask
from milvine.search.scan import scan
from milvine.segment.cache import FileCache
from milvine.segment.reference import RunReference, SegmentReference
from milvine.segment.version import SegmentRun
from milvine.storage.local import LocalStorage
from milvine.types import IndexSetting, IndexType, MetricType, Query

ROWS = np.random.default_rng(11).random((5000, 8), dtype=np.float32)
BITS = np.random.default_rng(12).integers(0, 256, (300, 4), np.uint8)
LISTS = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16})
QUIET = Settings(background=False, build_in_subprocess=False)
ELSEWHERE = """
import pickle
from pathlib import Path
from milvine.search.plan import SegmentTask
from milvine.search.scan import scan
from milvine.segment.cache import FileCache
from milvine.storage.local import LocalStorage

folder, asked = pickle.load(sys.stdin.buffer)
files = FileCache(LocalStorage(Path(folder)), 8)
told = []
for reference, query, metric in asked:
    run = reference.open(files)
    mask = None if run.mask is None else run.mask.to_bool()
    read = run.scan_input(exact=True)
    told.append((read.ids, read.vectors, mask, scan(SegmentTask(run), query, metric, 1)))
sys.stdout.buffer.write(pickle.dumps(told))
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An indexed collection, one of small neighbours, one of bits; each with deletes in a tombstone
    file, newer ones, or both.
    """
    with Database.open(tmp_path / "db", QUIET) as database:
        database.create_collection("indexed", 8, 1024, MetricType.L2)
        database.collection("indexed").insert(ROWS, np.arange(5000))
        database.collection("indexed").delete(np.arange(0, 200))
        database.flush()
        database.collection("indexed").create_index(LISTS)
        database.collection("indexed").delete(np.arange(100, 300))
        database.flush()
        database.create_collection("small", 8, 1024, MetricType.IP)
        for tag in ("a", "b", "c"):
            database.collection("small").create_partition(tag)
            database.collection("small").insert(ROWS[:50] * ord(tag), np.arange(50), tag)
        database.flush()
        database.create_collection("bits", 32, 1024, MetricType.HAMMING)
        database.collection("bits").insert(BITS, np.arange(300))
        database.flush()
        database.collection("indexed").delete(np.arange(300, 333))
        database.collection("small").delete(np.arange(7), "b")
        yield database


def runs(database: Database, name: str) -> tuple[SegmentRun, ...]:
    return database.collection(name).pin().segment_set.runs


def files(database: Database) -> FileCache:
    return FileCache(LocalStorage(folder(database)), 8)


def folder(database: Database) -> Path:
    mapped = database.stores.storage.mapped_folder
    assert mapped is not None
    return mapped


def elsewhere(database: Database, asked: list[Any]) -> list[Any]:
    """What another process opens and finds."""
    done = subprocess.run(
        running(ELSEWHERE),
        input=pickle.dumps((str(folder(database)), asked)),
        capture_output=True,
        check=True,
    )
    told: list[Any] = pickle.loads(done.stdout)
    return told


def test_another_process_finds_the_same(database: Database) -> None:
    asked, wanted = [], []
    for name in ("indexed", "small", "bits"):
        rows = BITS if name == "bits" else ROWS
        for run in runs(database, name):
            metric = database.collection(name).definition.metric
            query = Query(rows[250:254], 5, {"nprobe": 4})
            asked.append((RunReference.of(run), query, metric))
            wanted.append((run, scan(SegmentTask(run), query, metric, 1)))
    assert len(asked) == 3 and len(asked[1][0].segments) == 3
    for (ids, vectors, mask, hits), (run, here) in zip(
        elsewhere(database, asked), wanted, strict=True
    ):
        read = run.scan_input(exact=True)
        assert np.array_equal(ids, read.ids) and np.array_equal(vectors, read.vectors)
        assert (mask is None) == (run.mask is None)
        assert mask is None or np.array_equal(mask, run.mask.to_bool())
        assert np.array_equal(hits.ids, here.ids)
        assert np.array_equal(hits.distances, here.distances)
    assert wanted[0][0].scan_input().index is not None and 250 not in wanted[0][1].ids


def test_deletes_are_sent_as_far_as_no_file_has_them(database: Database) -> None:
    (run,) = runs(database, "indexed")
    reference = SegmentReference.of(run.segments[0])
    assert reference.record.tombstone_file and 0 < len(reference.newer_deletes) < 200
    database.flush()
    (run,) = runs(database, "indexed")
    later = SegmentReference.of(run.segments[0])
    assert later.newer_deletes == b""
    assert later.record.tombstone_file != reference.record.tombstone_file
    opened = later.open(files(database))
    assert opened.mask is not None and run.mask is not None
    assert opened.mask.dead == run.mask.dead == 133
    (small,) = runs(database, "small")
    assert [bool(each.newer_deletes) for each in RunReference.of(small).segments] == [False] * 3


def test_deletes_after_the_reference_are_not_seen(database: Database) -> None:
    (run,) = runs(database, "small")
    reference = RunReference.of(run)
    database.collection("small").delete(np.arange(50))
    opened = reference.open(files(database))
    assert opened.mask is not None and opened.mask.dead == 7


def test_it_is_a_small_value(database: Database) -> None:
    for name in ("indexed", "small", "bits"):
        for run in runs(database, name):
            reference = RunReference.of(run)
            data = pickle.dumps(reference)
            again = pickle.loads(data)
            assert again == reference and hash(again) == hash(reference)
            assert len(data) < 1200
            names = {n for each in run.segments for n in each.segment.record.files}
            assert set(reference.files) == names and len(reference.files) == len(names)


@pytest.mark.parametrize("kind", ["rows", "dead"])
def test_a_missing_file_is_named(database: Database, kind: str) -> None:
    (run,) = runs(database, "indexed")
    reference = RunReference.of(run)
    (name,) = (name for name in reference.files if name.startswith(kind))
    (folder(database) / name).rename(folder(database) / "away")
    with pytest.raises(StorageFailed, match=f"Cannot read .*{name}"):
        reference.open(files(database))


@pytest.mark.parametrize("kind", ["rows", "dead"])
def test_a_damaged_file_is_named(database: Database, kind: str) -> None:
    (run,) = runs(database, "indexed")
    reference = RunReference.of(run)
    (name,) = (name for name in reference.files if name.startswith(kind))
    path = folder(database) / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptFile, match=name):
        reference.open(files(database))


@pytest.mark.parametrize("damage", [os.unlink, lambda path: path.write_bytes(b"none")])
def test_without_its_index_rows_are_compared(database: Database, damage: Any) -> None:
    (run,) = runs(database, "indexed")
    reference, index_file = RunReference.of(run), run.segments[0].segment.record.index_file
    assert index_file is not None
    damage(folder(database) / index_file)
    opened = reference.open(files(database))
    query = Query(ROWS[400:401], 3, {"nprobe": 16})
    hits = scan(SegmentTask(opened), query, MetricType.L2, 1)
    assert opened.scan_input().index is None and hits.ids[0, 0] == 400


def test_what_is_known_to_be_damaged_is_not_referred_to(database: Database) -> None:
    (run,) = runs(database, "indexed")
    each = run.segments[0]
    database.stores.files.refuse_blocks(each.segment.record.rows_file, {0: "it is bad"})
    with pytest.raises(CorruptFile, match="it is bad"):
        SegmentReference.of(each)
    (small,) = runs(database, "small")
    small.segments[1].segment.refuse("its deletes are not known")
    with pytest.raises(CorruptFile, match="its deletes are not known"):
        RunReference.of(small)


def test_a_reference_to_something_else_is_refused(database: Database) -> None:
    (run,) = runs(database, "indexed")
    reference = SegmentReference.of(run.segments[0])

    def refused(changed: SegmentReference, error: type[MilvineError], text: str) -> None:
        with pytest.raises(error, match=text):
            changed.open(files(database))

    record = reference.record
    other = replace(reference, record=replace(record, id=record.id + 1))
    refused(other, CorruptFile, f"does not hold segment {record.id + 1}")
    other = replace(reference, record=replace(record, max_lsn=record.max_lsn + 1))
    refused(other, CorruptFile, "has other rows than the reference says")
    (bits,) = runs(database, "bits")
    database.collection("bits").delete(np.arange(3))
    (bits,) = runs(database, "bits")
    foreign = replace(reference, newer_deletes=SegmentReference.of(bits.segments[0]).newer_deletes)
    refused(foreign, CorruptFile, "has deletes in 38 bytes for 4800 rows")
    first, _, third = RunReference.of(runs(database, "small")[0]).segments
    with pytest.raises(CorruptFile, match="do not lie side by side in one file"):
        RunReference((first, third)).open(files(database))
