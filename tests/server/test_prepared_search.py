"""Searches that were checked before are checked again as soon as the answer could be
another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import IllegalTopk, OutOfMemory
from milvine.server.operations import Operations, prepared_search
from milvine.types import IndexSetting, IndexType, MetricType
from milvine.wire import requests, search_template
from milvine.wire.packed import Rows, SearchRequest, decode_hits, encode_search

ROWS = np.random.default_rng(11).random((4200, 8), dtype=np.float32)
OK, ILLEGAL_ARGUMENT, NOT_EXISTS, ILLEGAL_DIMENSION = 0, 5, 4, 7


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    prepared_search._kept.clear()
    with Database.open(tmp_path / "data", Settings(background=False)) as opened:
        opened.create_collection("c", 8, 1024, MetricType.L2)
        opened.insert("c", ROWS, np.arange(len(ROWS)))
        yield opened


def code(
    database: Database, params: Any, vectors: Any = ROWS[:1], tags: tuple[str, ...] = ()
) -> int:
    """Of the same search three times, in this process, which must end alike."""
    wanted = SearchRequest("c", tags, Rows(len(vectors), vectors.size, vectors), 3, None)
    codes = {Operations(database).search(wanted, params).code for _ in range(3)}
    assert len(codes) == 1
    return codes.pop()


def test_a_search_is_known_when_it_comes_again(database: Database) -> None:
    assert code(database, {"nprobe": 4}) == OK and len(prepared_search._kept) == 1
    assert code(database, {"nprobe": 4}, ROWS[5:6]) == OK and len(prepared_search._kept) == 1
    assert code(database, {"nprobe": 5}) == OK and len(prepared_search._kept) == 2


def test_another_index_has_other_parameters(database: Database) -> None:
    assert code(database, {"ef": 9}) == OK
    database.create_index("c", IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8}))
    assert code(database, {"ef": 9}) == ILLEGAL_ARGUMENT
    assert code(database, {"nprobe": 9}) == OK
    database.drop_index("c")
    assert code(database, {"ef": 9}) == OK


def test_true_is_no_number_though_it_equals_one(database: Database) -> None:
    database.create_index("c", IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8}))
    assert code(database, {"nprobe": 1}) == OK
    assert code(database, {"nprobe": True}) == ILLEGAL_ARGUMENT
    assert code(database, {"nprobe": 1}) == OK


def test_parameters_may_change_under_way(database: Database) -> None:
    database.create_index("c", IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8}))
    params: dict[str, Any] = {"nprobe": 8}
    assert code(database, params) == OK
    params["nprobe"] = "8"
    assert code(database, params) == ILLEGAL_ARGUMENT
    params["nprobe"] = [8]
    assert code(database, params) == ILLEGAL_ARGUMENT
    assert code(database, {"nprobe": 8}) == OK


def test_another_collection_of_the_name_has_another_width(database: Database) -> None:
    assert code(database, {}) == OK
    database.drop_collection("c")
    assert code(database, {}) == NOT_EXISTS
    database.create_collection("c", 4, 1024, MetricType.L2)
    assert code(database, {}) == ILLEGAL_DIMENSION
    assert code(database, {}, ROWS[:1, :4].copy()) == OK
    assert code(database, {}, np.zeros((1, 4), np.uint8)) == ILLEGAL_DIMENSION


def test_rows_and_partitions_are_seen_at_once(database: Database) -> None:
    """Over the wire, where the bytes around the vector are known as well."""
    operations = Operations(database)

    def nearest(tag: str = "") -> list[int]:
        request = encode_search("c", ROWS[7:8], 2, (tag,) if tag else ())
        return decode_hits(operations.call("Search", request)).ids.tolist()

    assert nearest()[0] == 7
    database.delete("c", np.array([7]))
    assert 7 not in nearest()
    database.insert("c", ROWS[7:8], np.array([9000]))
    assert nearest()[0] == 9000
    assert nearest("p.*") == []
    database.create_partition("c", "p1")
    assert nearest("p.*") == []
    database.insert("c", ROWS[7:8], np.array([9001]), "p1")
    assert nearest("p.*")[0] == 9001 and sorted(nearest()) == [9000, 9001]
    database.create_partition("c", "p2")
    database.insert("c", ROWS[7:8], np.array([9002]), "p2")
    assert sorted(nearest("p.*")) == [9001, 9002]
    database.flush()
    database.drop_partition("c", "p1")
    assert nearest("p.*")[0] == 9002


def test_no_more_are_kept_than_a_few(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_search, "_KEPT_MAX", 5)
    for number in range(20):
        assert code(database, {"note": number}) == OK
        assert len(prepared_search._kept) <= 5
    for large in ({"note": "x" * 5000}, {str(n): n for n in range(40)}, {"note": [1]}):
        prepared_search._kept.clear()
        assert code(database, large) == OK and not prepared_search._kept


def test_nothing_stays_counted_of_requests_that_ended(database: Database) -> None:
    operations = Operations(database, Settings(request_bytes_max=1 << 20))
    seen = []

    def work(error: BaseException | None) -> None:
        seen.append(operations.in_flight())
        if error is not None:
            raise error

    for error in (None, IllegalTopk("no"), ZeroDivisionError(), KeyboardInterrupt()):
        with contextlib.suppress(BaseException):
            operations.run("Search", 1000, partial(work, error))
    with pytest.raises(OutOfMemory):
        operations.run("Search", 2 << 20, partial(work, None))
    assert seen == [(1, 1000)] * 4 and operations.in_flight() == (0, 0)


def test_answers_do_not_depend_on_the_searches_before(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches over many collections, some of whose requests take the same bytes, prepared ones
    kept and not.
    """
    drawn = np.random.default_rng(12)
    names = [
        (f"{letter}{width:_>4}", width) for width in (2, 8, 16, 32, 50, 256, 300) for letter in "xy"
    ]
    for name, width in names:
        database.create_collection(name, width, 1024, MetricType.L2)
        database.insert(name, drawn.random((20, width), dtype=np.float32), np.arange(20))
    operations, kept = Operations(database), search_template.Alike[SearchRequest]()
    for _ in range(600):
        name, own = names[drawn.integers(len(names))]
        width = own if drawn.random() < 0.8 else names[drawn.integers(len(names))][1]
        rows = int(drawn.choice([1, 1, 1, 2, 3, 5, 9]))
        request = encode_search(name, drawn.random((rows, width), dtype=np.float32), 4, (), "{}")
        monkeypatch.setattr(requests, "_SINGLE", kept)
        prepared = operations.call("Search", request)
        monkeypatch.setattr(requests, "_SINGLE", search_template.Alike())
        prepared_search._kept.clear()
        assert prepared == operations.call("Search", request), (name, rows, width)
