"""Rows through their whole life: insert, get, search, delete, flush, compact, drop, reopen."""

import shutil
import weakref

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import (
    CollectionExists,
    CollectionNotFound,
    CorruptFile,
    DatabaseClosed,
    IllegalPartition,
    IllegalVectorId,
    NothingStored,
    PartitionNotFound,
    ReadOnly,
)
from milvine.events import Events, Flushed, Merged
from milvine.limits import FILLER_DISTANCE
from milvine.storage import failpoints
from milvine.types import IndexSetting, IndexType, MetricType

QUIET = Settings(background=False)


def ids_of(hits):
    return [[int(i) for i in row if i >= 0] for row in hits.ids]


def nearest(database, vectors, k=1, tags=()):
    return ids_of(database.collection("c").search(vectors, k, {}, tags))


def fill(database, vectors, start=0, tag=""):
    return database.collection("c").insert(vectors, np.arange(start, start + len(vectors)), tag)


@pytest.fixture(autouse=True)
def collection(database):
    database.create_collection("c", 8, 1024, MetricType.L2)


@pytest.mark.parametrize("flushed", [False, True])
def test_inserts_and_deletes_are_visible_when_acknowledged(database, vectors, flushed):
    fill(database, vectors)
    if flushed:
        database.flush(["c"])
    assert nearest(database, vectors) == [[i] for i in range(60)]
    assert database.collection("c").count() == 60
    database.collection("c").delete(np.array([3, 4, 999]))
    assert database.collection("c").count() == 58
    assert nearest(database, vectors[3:5]) != [[3], [4]]
    found, got = database.collection("c").get(np.array([2, 3, 5, 2]))
    assert found.tolist() == [True, False, True, True]
    assert np.array_equal(got[[0, 2, 3]], vectors[[2, 5, 2]]) and not got[1].any()


def test_delete_then_insert_replaces_even_when_flushed_together(database, vectors):
    fill(database, vectors[:1])
    database.collection("c").delete(np.array([0]))
    fill(database, vectors[1:2])
    database.flush()
    assert database.collection("c").count() == 1
    assert np.array_equal(database.collection("c").get(np.array([0]))[1], vectors[1:2])


def test_duplicates_are_kept_and_deleted_together(database, vectors):
    fill(database, vectors[:2])
    database.flush()
    fill(database, vectors[:2])
    assert database.collection("c").count() == 4
    assert sorted(nearest(database, vectors[:1], 2)[0]) == [0, 0]
    database.collection("c").delete(np.array([0]))
    assert database.collection("c").count() == 2


def test_the_shape_of_answers(database, vectors):
    empty = database.collection("c").search(vectors[:3], 5)
    assert empty.ids.shape == (0, 0)
    fill(database, vectors[:2])
    hits = database.collection("c").search(vectors[:3], 5)
    assert hits.ids.shape == (3, 3) and (hits.ids[:, 2] == -1).all()
    assert (hits.distances[:, 2] == np.float32(FILLER_DISTANCE)).all()
    database.collection("c").delete(np.array([0, 1]))
    assert database.collection("c").search(vectors[:3], 5).ids.tolist() == [[-1], [-1], [-1]]


def test_ids_given_or_generated_is_fixed_by_the_first_insert(database, vectors, tmp_path):
    generated = database.collection("c").insert(vectors, None)
    assert len(set(generated.tolist())) == 60 and (np.diff(generated) > 0).all()
    with pytest.raises(IllegalVectorId, match="auto-generated"):
        fill(database, vectors)
    database.collection("c").delete(generated)
    database.flush()
    with pytest.raises(IllegalVectorId):
        fill(database, vectors)
    more = database.collection("c").insert(vectors, None)
    assert more[0] > generated[-1]
    database.create_collection("given", 8, 1, MetricType.L2)
    database.collection("given").insert(vectors[:1], np.array([-5]))
    with pytest.raises(IllegalVectorId, match="user-defined"):
        database.collection("given").insert(vectors[:1], None)
    database.close()
    with Database.open(tmp_path / "db", QUIET) as again, pytest.raises(IllegalVectorId):
        again.collection("c").insert(vectors[:1], np.array([1]))


def test_a_refused_insert_leaves_no_trace(database, vectors):
    with pytest.raises(PartitionNotFound, match="Collection c's partition nope not found"):
        fill(database, vectors, tag="nope")
    assert database.collection("c").count() == 0
    assert (
        database.collection("c").insert(vectors[:1], None) is not None
    )  # the id mode was not decided either


def test_partitions(database, vectors):
    database.collection("c").create_partition("a")
    with pytest.raises(IllegalPartition, match="Duplicate partition is not allowed"):
        database.collection("c").create_partition("a")
    fill(database, vectors[:10])
    fill(database, vectors[10:20], 10, "a")
    assert database.collection("c").partitions() == ["_default", "a"]
    for _ in range(2):
        assert nearest(database, vectors[12:13], 1, ("a",)) == [[12]]
        assert nearest(database, vectors[12:13], 1, ("_default",)) != [[12]]
        assert [p.row_count for p in database.collection("c").stats().partitions] == [10, 10]
        assert database.collection("c").get(np.array([12, 2]), ["a"])[0].tolist() == [True, False]
        database.flush()
    database.collection("c").delete(np.array([1, 11]), "a")
    assert [p.row_count for p in database.collection("c").stats().partitions] == [10, 9]
    database.collection("c").delete(np.array([1, 11]), "unknown tags are no error")
    fill(database, vectors[20:30], 20, "a")
    database.collection("c").drop_partition("a")
    assert database.collection("c").count() == 10
    with pytest.raises(PartitionNotFound):
        database.collection("c").drop_partition("a")
    database.collection("c").create_partition("a")
    assert database.collection("c").count() == 10
    with pytest.raises(NothingStored):
        database.collection("c").get(np.array([12]), ["a"])


def test_one_flush_writes_one_file_for_all_partitions(database, vectors, tmp_path):
    for number in range(20):
        database.collection("c").create_partition(f"p{number}")
        fill(database, vectors[number : number + 2], 2 * number, f"p{number}")
    database.flush()
    assert len(list((tmp_path / "db" / "segments").iterdir())) == 1
    assert len([p for p in database.collection("c").stats().partitions if p.segments]) == 20


def test_neighbouring_slices_are_scanned_in_one_call(database, vectors, monkeypatch):
    from milvine.search import scan as module

    for number in range(30):
        database.collection("c").create_partition(f"p{number}")
        fill(database, vectors[2 * number : 2 * number + 2], 2 * number, f"p{number}")
    database.flush()
    calls = []
    original = module.search_exact
    monkeypatch.setattr(module, "search_exact", lambda *rest: calls.append(rest) or original(*rest))
    assert nearest(database, vectors) == [[i] for i in range(60)]
    assert len(calls) == 1
    database.collection("c").delete(np.array([7, 8]))
    found = nearest(database, vectors[6:10])
    assert (found[0], found[3]) == ([6], [9]) and len(calls) == 2
    assert nearest(database, vectors[4:5], 5, ("p2", "p3", "p7")) != []
    assert len(calls) == 4  # p2 and p3 are neighbours, p7 is not
    assert sorted(nearest(database, vectors[4:5], 5, ("p2", "p3", "p7"))[0]) == [4, 5, 6, 14, 15]
    assert database.collection("c").get(np.array([59, 7, 0]))[0].tolist() == [True, False, True]


def test_raw_rows_may_be_scored_by_another_metric(database, vectors):
    fill(database, vectors)
    for _ in range(2):
        hits = database.collection("c").search(vectors[:2], 60, {"metric_type": 2})
        products = vectors[:2] @ vectors.T
        assert hits.ids.tolist() == np.argsort(-products, axis=1, kind="stable").tolist()
        assert np.allclose(hits.distances, -np.sort(-products, axis=1), rtol=1e-6)
        database.flush()


def test_an_idle_writer_holds_no_rows(database, vectors):
    rows = np.tile(vectors, (1000, 1)).copy()
    gone = weakref.ref(rows)
    fill(database, rows)
    database.flush()
    del rows
    assert gone() is None


def test_a_flush_is_told_when_the_rows_are_let_go(tmp_path, vectors):
    rows = np.tile(vectors, (1000, 1)).copy()
    gone = weakref.ref(rows)
    held = []
    events = Events(lambda event: held.append(gone()) if isinstance(event, Flushed) else None)
    with Database.open(tmp_path / "told", QUIET, events) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        fill(database, rows)
        del rows
        database.flush()
    assert held == [None]


def test_drop_and_create_again(database, vectors):
    fill(database, vectors)
    with pytest.raises(CollectionExists):
        database.create_collection("c", 8, 1, MetricType.L2)
    database.collection("c").drop()
    with pytest.raises(
        CollectionNotFound, match="Collection c does not exist. Use milvus.has_collection"
    ):
        database.collection("c").count()
    database.create_collection("c", 4, 1, MetricType.IP)
    assert database.collection("c").count() == 0 and database.collections() == ["c"]
    database.collection("c").insert(np.ones((1, 4), np.float32), None)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "crashed"])
def test_everything_comes_back(database, vectors, tmp_path, closed):
    database.collection("c").create_partition("a")
    fill(database, vectors[:30])
    database.flush()
    database.collection("c").delete(np.arange(5))
    fill(database, vectors[30:], 30, "a")
    database.collection("c").delete(np.arange(30, 33))
    database.create_collection("other", 8, 1, MetricType.IP)
    folder = tmp_path / "db"
    if closed:
        database.close()
    else:
        shutil.copytree(folder, tmp_path / "copy")
        folder = tmp_path / "copy"
    for _ in range(2):
        with Database.open(folder, QUIET) as again:
            assert again.collections() == ["c", "other"] and again.collection("c").partitions() == [
                "_default",
                "a",
            ]
            assert again.collection("c").count() == 52
            found, got = again.collection("c").get(np.arange(60))
            gone = [0, 1, 2, 3, 4, 30, 31, 32]
            assert np.flatnonzero(~found).tolist() == gone
            assert np.array_equal(got[found], vectors[found])


def test_compact_frees_the_rows_and_keeps_the_rest(database, vectors, events):
    fill(database, vectors)
    database.flush()
    before = database.collection("c").stats().partitions[0].segments[0]
    database.collection("c").delete(np.arange(5))
    database.collection("c").compact()
    assert (
        database.collection("c").stats().partitions[0].segments[0].name == before.name
    )  # less than a tenth
    database.collection("c").delete(np.arange(10))
    database.collection("c").compact()
    after = database.collection("c").stats().partitions[0].segments[0]
    assert after.name != before.name and after.data_size == 50 * (32 + 8)
    assert nearest(database, vectors[10:]) == [[i] for i in range(10, 60)]
    database.collection("c").delete(np.arange(60))
    database.collection("c").compact()
    assert database.collection("c").stats().partitions[0].segments == ()
    assert [type(e) for e in events].count(Merged) == 2


def test_deletes_between_seal_and_commit_are_carried_over(database, vectors, monkeypatch):
    from milvine.maintenance import flush as module

    fill(database, vectors)
    original = module.write

    def write_slowly(*arguments):
        written = original(*arguments)
        database.collection("c").delete(np.arange(10))
        fill(database, vectors[:5])
        return written

    monkeypatch.setattr(module, "write", write_slowly)
    database.flush()
    monkeypatch.undo()
    assert database.collection("c").count() == 55
    database.flush()
    assert database.collection("c").count() == 55
    assert (
        database.collection("c").get(np.arange(12))[0].tolist()
        == [True] * 5 + [False] * 5 + [True] * 2
    )


def test_deletes_during_a_merge_do_not_rise_again(database, vectors, monkeypatch, tmp_path):
    for start in (0, 30):
        fill(database, vectors[start : start + 30], start)
        database.flush()

    def written():
        database.collection("c").delete(np.array([3, 33]))
        database.flush()  # durable in the old segments, so the log will not bring it back
        database.collection("c").delete(np.array([4]))

    monkeypatch.setitem(failpoints.armed, "merge.written", written)
    database.collection("c").create_index(IndexSetting(IndexType.FLAT))
    monkeypatch.undo()
    assert len(database.collection("c").stats().partitions[0].segments) == 1
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    for folder in (None, tmp_path / "copy"):
        these = database if folder is None else Database.open(folder, QUIET)
        assert np.flatnonzero(~these.collection("c").get(np.arange(60))[0]).tolist() == [3, 4, 33]
    these.close()


def test_read_only_sees_what_is_flushed_while_another_writes(database, vectors, tmp_path):
    fill(database, vectors[:10])
    database.flush()
    fill(database, vectors[10:20], 10)
    with Database.open(tmp_path / "db", QUIET, read_only=True) as reader:
        assert reader.collection("c").count() == 10
        assert nearest(reader, vectors[:1]) == [[0]]
        for change in (
            lambda: fill(reader, vectors),
            lambda: reader.collection("c").drop(),
            reader.flush,
        ):
            with pytest.raises(ReadOnly):
                change()


def test_a_lost_catalog_is_no_empty_database(database, vectors, tmp_path):
    fill(database, vectors)
    database.close()
    files = sorted((tmp_path / "db" / "segments").iterdir())
    (tmp_path / "db" / "catalog.sqlite").unlink()
    with pytest.raises(
        CorruptFile, match="catalog.sqlite is damaged at byte 0: it is missing, though"
    ):
        Database.open(tmp_path / "db", QUIET)
    assert sorted((tmp_path / "db" / "segments").iterdir()) == files


def test_damage_is_never_merged_into_a_new_file(database, vectors, tmp_path):
    # More than one block, so that the ids are in a sound one.
    fill(database, np.tile(vectors, (800, 1)))
    database.flush()
    database.close()
    (path,) = (tmp_path / "db" / "segments").iterdir()
    data = bytearray(path.read_bytes())
    data[data.index(vectors[30].tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with Database.open(tmp_path / "db", QUIET) as again:
        again.collection("c").delete(np.arange(10_000))
        with pytest.raises(
            CorruptFile, match=f"{path.name} is damaged at byte 0: a block's checksum is wrong"
        ):
            again.collection("c").compact()
        assert [p.name for p in path.parent.glob("rows-*")] == [path.name]


def test_after_close(database):
    database.close()
    with pytest.raises(DatabaseClosed):
        database.collection("c").count()


def test_the_insert_buffer_is_bounded(tmp_path, vectors, events):
    settings = Settings(background=False, insert_buffer_size=4000)
    with Database.open(tmp_path / "small", settings, Events(events.append)) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        for number in range(20):
            fill(database, vectors, 60 * number)
            assert database.stores.tail_bytes() <= 4000 + 60 * 56
        assert database.collection("c").count() == 1200
    assert any(isinstance(event, Flushed) for event in events)


def test_wal_off_and_on_again(tmp_path, vectors):
    folder = tmp_path / "off"
    with Database.open(folder, QUIET) as database:
        database.create_collection("c", 8, 1, MetricType.L2)
        fill(database, vectors[:10])
        shutil.copytree(folder, tmp_path / "crashed")
    for enabled in (False, True, False):
        with Database.open(
            tmp_path / "crashed", Settings(background=False, wal_enable=enabled)
        ) as database:
            count = database.collection("c").count()
            fill(database, vectors[:10], 100 + count)
    with Database.open(tmp_path / "crashed", QUIET) as database:
        assert database.collection("c").count() == 40
