"""Searches that were prepared before are prepared anew as soon as the answer could be another
one.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CorruptFile, IllegalPartition, IllegalTopk
from milvine.search import prepared
from milvine.server.operations import Operations
from milvine.types import IndexSetting, IndexType, MetricType
from milvine.wire import requests
from milvine.wire.packed import Rows, SearchRequest, decode_hits, encode_search

ROWS = np.random.default_rng(11).random((4200, 8), dtype=np.float32)
OK, ILLEGAL_ARGUMENT, NOT_EXISTS, ILLEGAL_DIMENSION = 0, 5, 4, 7
IVF_FLAT = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "data", Settings(background=False)) as opened:
        opened.create_collection("c", 8, 1024, MetricType.L2)
        opened.collection("c").insert(ROWS, np.arange(len(ROWS)))
        yield opened


def code(
    database: Database, params: Any, vectors: Any = ROWS[:1], tags: tuple[str, ...] = ()
) -> int:
    """Of the same search three times, in this process, which must end alike."""
    wanted = SearchRequest("c", tags, Rows(len(vectors), vectors.size, vectors), 3, None)
    codes = {Operations(database).search(wanted, params).code for _ in range(3)}
    assert len(codes) == 1
    return codes.pop()


def kept(database: Database) -> int:
    """How many prepared searches the current version has."""
    return len(database.collection("c").pin().prepared)


def test_a_search_is_prepared_once(database: Database) -> None:
    assert code(database, {"nprobe": 4}) == OK and kept(database) == 1
    assert code(database, {"nprobe": 4}, ROWS[5:6]) == OK and kept(database) == 1
    assert code(database, {"nprobe": 4}, ROWS[:9]) == OK and kept(database) == 1
    assert code(database, {"nprobe": 5}) == OK and kept(database) == 2
    collection = database.collection("c")
    one = collection.prepare(3, {"nprobe": 4})
    assert collection.prepare(3, {"nprobe": 4}) is one
    assert collection.prepare(4, {"nprobe": 4}).plan is one.plan
    collection.insert(ROWS[:1], np.array([-5]))
    assert collection.prepare(3, {"nprobe": 4}) is not one and kept(database) == 1


def test_another_index_has_other_parameters(database: Database) -> None:
    assert code(database, {"ef": 9}) == OK
    database.collection("c").create_index(IVF_FLAT)
    assert code(database, {"ef": 9}) == ILLEGAL_ARGUMENT
    assert code(database, {"nprobe": 9}) == OK
    database.collection("c").drop_index()
    assert code(database, {"ef": 9}) == OK


def test_true_is_no_number_though_it_equals_one(database: Database) -> None:
    database.collection("c").create_index(IVF_FLAT)
    assert code(database, {"nprobe": 1}) == OK
    assert code(database, {"nprobe": True}) == ILLEGAL_ARGUMENT
    assert code(database, {"nprobe": 1}) == OK


@pytest.mark.parametrize("params", [None, {}, [], "", 0, False, [1], "nprobe", {"nlist": 4}])
def test_what_has_no_parameters_is_refused_where_some_are_needed(
    database: Database, params: Any
) -> None:
    assert code(database, params) == OK
    database.collection("c").create_index(IVF_FLAT)
    assert code(database, {"nprobe": 4}) == OK
    assert code(database, params) == ILLEGAL_ARGUMENT


def test_parameters_may_change_under_way(database: Database) -> None:
    database.collection("c").create_index(IVF_FLAT)
    params: dict[str, Any] = {"nprobe": 8}
    assert code(database, params) == OK
    made = database.collection("c").prepare(3, params)
    params["nprobe"] = "8"
    assert made.params == {"nprobe": 8}
    assert code(database, params) == ILLEGAL_ARGUMENT
    params["nprobe"] = [8]
    assert code(database, params) == ILLEGAL_ARGUMENT
    assert code(database, {"nprobe": 8}) == OK


def test_another_collection_of_the_name_has_another_width(database: Database) -> None:
    assert code(database, {}) == OK
    database.collection("c").drop()
    assert code(database, {}) == NOT_EXISTS
    database.create_collection("c", 4, 1024, MetricType.L2)
    assert code(database, {}) == ILLEGAL_DIMENSION
    assert code(database, {}, ROWS[:1, :4].copy()) == OK
    assert code(database, {}, np.zeros((1, 4), np.uint8)) == ILLEGAL_DIMENSION


def test_rows_and_partitions_are_seen_at_once(database: Database) -> None:
    """Over the wire, where the bytes around the vector are known as well."""
    operations, collection = Operations(database), database.collection("c")

    def nearest(tag: str = "") -> list[int]:
        request = encode_search("c", ROWS[7:8], 2, (tag,) if tag else ())
        return decode_hits(operations.call("Search", request)).ids.tolist()

    assert nearest()[0] == 7
    collection.delete(np.array([7]))
    assert 7 not in nearest()
    collection.insert(ROWS[7:8], np.array([9000]))
    assert nearest()[0] == 9000
    assert nearest("p.*") == []
    collection.create_partition("p1")
    assert nearest("p.*") == []
    collection.insert(ROWS[7:8], np.array([9001]), "p1")
    assert nearest("p.*")[0] == 9001 and sorted(nearest()) == [9000, 9001]
    collection.create_partition("p2")
    collection.insert(ROWS[7:8], np.array([9002]), "p2")
    assert sorted(nearest("p.*")) == [9001, 9002]
    database.flush()
    collection.drop_partition("p1")
    assert nearest("p.*")[0] == 9002


def test_no_more_are_kept_than_a_few(database: Database) -> None:
    for number in range(200):
        assert code(database, {"note": number}) == OK
        assert kept(database) <= 64
    large = ({"note": "x" * 5000}, {str(n): n for n in range(40)}, {"note": [1]}, {"note": {}})
    for params in large:
        database.collection("c").insert(ROWS[:1], np.array([1]))  # of the new version none is kept
        assert code(database, params) == OK and kept(database) == 0


def test_what_a_version_keeps_goes_with_it(database: Database) -> None:
    """Else the files of segments that nothing names any more could not be removed."""
    database.flush()
    collection = database.collection("c")
    code(database, {})
    held = database.stores.files.held()
    assert held
    collection.drop()
    assert not held & database.stores.files.held()


def test_answers_do_not_depend_on_the_searches_before(database: Database, tmp_path: Path) -> None:
    """Searches over many collections, some of whose requests take the same bytes, prepared ones
    kept and not.
    """
    drawn = np.random.default_rng(12)
    names = [
        (f"{letter}{width:_>4}", width) for width in (2, 8, 16, 32, 50, 256, 300) for letter in "xy"
    ]
    for name, width in names:
        database.create_collection(name, width, 1024, MetricType.L2)
        vectors = drawn.random((20, width), dtype=np.float32)
        database.collection(name).insert(vectors, np.arange(20))
    operations = Operations(database)
    for _ in range(600):
        name, own = names[drawn.integers(len(names))]
        width = own if drawn.random() < 0.8 else names[drawn.integers(len(names))][1]
        rows = int(drawn.choice([1, 1, 1, 2, 3, 5, 9]))
        request = encode_search(name, drawn.random((rows, width), dtype=np.float32), 4, (), "{}")
        known = operations.call("Search", request)
        requests.SINGLE.clear()
        database.collection(name).pin().prepared.clear()
        assert known == operations.call("Search", request), (name, rows, width)


def test_what_a_search_shares_is_what_its_own_tasks_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = database.collection("c")
    collection.create_partition("small")
    collection.insert(ROWS[:3], np.arange(9000, 9003), "small")
    database.flush()
    monkeypatch.setattr(prepared, "SHARED_BYTES_MIN", ROWS.nbytes)
    assert collection.prepare(5).shared
    assert collection.prepare(5, tags=("_default",)).shared
    assert not collection.prepare(5, tags=("small",)).shared


def test_a_segment_is_asked_each_time_what_is_known_of_it(database: Database) -> None:
    """What was opened for the scans before does not hide what was found out since."""
    collection = database.collection("c")
    database.flush()
    collection.create_index(IVF_FLAT)
    files = database.stores.files
    (segment,) = collection.pin().segments
    record = segment.segment.record
    assert record.index_file is not None
    kinds = []
    for known in (False, True):
        if known:
            files.damaged[record.index_file] = "it is damaged"
        assert collection.search(ROWS[7:8], 1, {"nprobe": 8}).ids[0, 0] == 7
        explained = collection.explain(collection.prepare(1, {"nprobe": 8}), ROWS[7:8])
        kinds.append(explained.scans[0].kind)
    assert kinds == ["IVF_FLAT", "exact"]
    segment.segment.refuse("its deletes are not known")
    with pytest.raises(CorruptFile, match="its deletes are not known"):
        collection.search(ROWS[7:8], 1, {"nprobe": 8})


def test_what_scans_read_goes_with_its_file(database: Database) -> None:
    collection = database.collection("c")
    database.flush()
    collection.search(ROWS[7:8], 1)
    (run,) = collection.pin().segment_set.runs
    first = run.scan_input()
    assert run.scan_input() is first
    gone = weakref.ref(first)
    (name,) = database.stores.files.opened()
    database.stores.files.forget(name)
    del first
    assert gone() is None
    assert collection.search(ROWS[7:8], 1).ids[0, 0] == 7


class Odd:
    """A value of the caller that answers nothing of what it is asked."""

    def __hash__(self) -> int:
        raise ZeroDivisionError

    __eq__ = __repr__ = __hash__  # type: ignore[assignment]


@pytest.mark.parametrize("k", [3.0, np.float64(3), True, np.bool_(True), "3", None])
def test_what_is_no_number_of_hits_is_refused_and_not_kept(database: Database, k: Any) -> None:
    collection = database.collection("c")
    for _ in range(2):
        with pytest.raises(IllegalTopk):
            collection.search(ROWS[:1], k)
    assert kept(database) == 0 and collection.search(ROWS[:1], 3).ids[0, 0] == 0
    assert collection.search(ROWS[:1], np.int64(3)).ids.shape == (1, 3) and kept(database) == 1
    with pytest.raises(IllegalTopk):
        collection.search(ROWS[:1], k)


@pytest.mark.parametrize("value", [10**5000, Odd(), [Odd()], np.float64(2)], ids=range(4))
def test_values_of_the_caller_are_not_asked(database: Database, value: Any) -> None:
    collection = database.collection("c")
    for _ in range(3):
        assert collection.search(ROWS[:1], 3, {"note": value}).ids[0, 0] == 0
    assert kept(database) == 0


@pytest.mark.parametrize("tags", ["_default", [1], None, 3, [None]])
def test_tags_are_texts(database: Database, tags: Any) -> None:
    with pytest.raises(IllegalPartition):
        database.collection("c").search(ROWS[:1], 3, {}, tags)
