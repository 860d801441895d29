"""A handle is bound to one collection: what is dropped and made anew under its name is another, and
whoever calls the engine is checked by it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.collection import OpenCollection
from milvine.engine.database import Database
from milvine.errors import (
    CollectionNotFound,
    DatabaseClosed,
    IllegalArgument,
    IllegalCollectionName,
    IllegalDimension,
    IllegalPartition,
    IllegalRowRecord,
    IllegalTopk,
    IllegalVectorId,
    MilvineError,
    PartitionNotFound,
    ReadOnly,
)
from milvine.server.operations import rows
from milvine.server.operations.indexes import set_index
from milvine.types import IndexSetting, IndexType, MetricType
from milvine.wire.packed import Rows, SearchRequest

FLOATS = np.random.default_rng(3).random((300, 64), dtype=np.float32)
ONE = FLOATS[:1, :8].copy()
HNSW = IndexSetting.of(IndexType.HNSW, {"M": 8, "efConstruction": 40})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "data", Settings(background=False)) as opened:
        make(opened, 8, MetricType.L2)
        yield opened


def make(database: Database, dimension: int, metric: MetricType) -> OpenCollection:
    """The collection `c`, anew: 200 rows, also those that were there before in another width."""
    if database.has_collection("c"):
        database.collection("c").drop()
    database.create_collection("c", dimension, 1024, metric)
    width = metric.width(dimension)
    vectors = (
        (FLOATS[:200, :width] * 255).astype(np.uint8)
        if metric.is_binary
        else FLOATS[:200, :width].copy()
    )
    collection = database.collection("c")
    collection.insert(vectors, np.arange(200))
    return collection


ANEW: dict[str, Callable[[Database], object]] = {
    "wider": lambda database: make(database, 64, MetricType.L2),
    "narrower": lambda database: make(database, 4, MetricType.L2),
    "binary": lambda database: make(database, 64, MetricType.HAMMING),
    "the same": lambda database: make(database, 8, MetricType.L2),
}
CALLS: dict[str, Callable[[OpenCollection], object]] = {
    "definition": lambda c: c.definition,
    "count": lambda c: c.count(),
    "stats": lambda c: c.stats(),
    "partitions": lambda c: c.partitions(),
    "has_partition": lambda c: c.has_partition("p"),
    "create_partition": lambda c: c.create_partition("p"),
    "drop_partition": lambda c: c.drop_partition("p"),
    "create_index": lambda c: c.create_index(HNSW),
    "drop_index": lambda c: c.drop_index(),
    "insert": lambda c: c.insert(ONE, np.array([900])),
    "delete": lambda c: c.delete(np.array([1])),
    "get": lambda c: c.get(np.array([1])),
    "segment_ids": lambda c: c.segment_ids("1"),
    "prepare": lambda c: c.prepare(3),
    "search": lambda c: c.search(ONE, 3),
    "search_by_id": lambda c: c.search_by_id(np.array([1]), 3),
    "preload": lambda c: c.preload(),
    "release": lambda c: c.release(),
    "compact": lambda c: c.compact(),
    "drop": lambda c: c.drop(),
}


@pytest.mark.parametrize("anew", ANEW)
@pytest.mark.parametrize("call", CALLS)
def test_who_holds_a_dropped_collection_is_told(database: Database, anew: str, call: str) -> None:
    held = database.collection("c")
    ANEW[anew](database)
    before = database.collection("c").definition, database.collection("c").count()
    with pytest.raises(CollectionNotFound, match="c"):
        CALLS[call](held)
    assert (database.collection("c").definition, database.collection("c").count()) == before


@pytest.mark.parametrize("call", CALLS)
def test_who_holds_one_of_a_closed_database_is_told(database: Database, call: str) -> None:
    held = database.collection("c")
    database.close()
    with pytest.raises(DatabaseClosed):
        CALLS[call](held)
    with pytest.raises(DatabaseClosed):
        database.collection("c")


def test_a_handle_shows_what_changes_in_its_collection(database: Database) -> None:
    held = database.collection("c")
    database.collection("c").insert(ONE, np.array([900]))
    database.collection("c").create_index(HNSW)
    assert held.count() == 201 and held.definition.index == HNSW


def test_a_handle_of_a_reader_follows_the_writer(database: Database, tmp_path: Path) -> None:
    database.flush()
    settings = Settings(background=False)
    with Database.open(tmp_path / "data", settings, read_only=True) as reader:
        held = reader.collection("c")
        for name in ("insert", "delete", "create_partition", "drop"):
            with pytest.raises(ReadOnly):
                CALLS[name](held)
        database.collection("c").insert(ONE, np.array([900]))
        database.flush()
        reader.refresh()
        assert held.count() == 201
        database.collection("c").drop()
        reader.refresh()
        with pytest.raises(CollectionNotFound):
            held.count()


@pytest.mark.parametrize("name", ["", "1c", "c d", "c" * 256, "\ud800", None, 1, b"c", []])
def test_no_collection_has_such_a_name(database: Database, name: Any) -> None:
    with pytest.raises(IllegalCollectionName):
        database.collection(name)


@pytest.mark.parametrize("anew", ANEW)
@pytest.mark.parametrize("nq", [1, 2, 40])
def test_a_prepared_search_is_of_one_definition(database: Database, anew: str, nq: int) -> None:
    held = database.collection("c")
    prepared, queries = held.prepare(3), FLOATS[:nq, :8].copy()
    expected = held.find(prepared, queries)
    ANEW[anew](database)
    again = held.find(prepared, queries)
    assert np.array_equal(again.ids, expected.ids) and again.ids[0, 0] == 0
    for width in (4, 64):
        with pytest.raises(IllegalDimension, match=r"collection c takes float32 \(n, 8\)"):
            held.find(prepared, FLOATS[:nq, :width].copy())


def test_parameters_are_held_against_the_index_that_is_there_now(database: Database) -> None:
    held = database.collection("c")
    held.search(ONE, 3, {})
    held.create_index(HNSW)
    with pytest.raises(IllegalArgument, match="ef"):
        held.search(ONE, 3, {})
    with pytest.raises(IllegalArgument, match="ef"):
        held.search_by_id(np.array([1]), 3, {})
    assert held.search(ONE, 3, {"ef": 10}).ids[0, 0] == 0


@pytest.mark.parametrize("k", [0, -1, 16385, 2.0, True, "3"])
def test_k_is_checked(database: Database, k: int) -> None:
    held = database.collection("c")
    for call in (lambda: held.search(ONE, k), lambda: held.search_by_id(np.array([1]), k)):
        with pytest.raises(IllegalTopk):
            call()


@pytest.mark.parametrize(
    ("tag", "error"),
    [("", PartitionNotFound), ("x" * 256, PartitionNotFound), ("(", IllegalPartition)],
)
def test_tags_are_checked(database: Database, tag: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        database.collection("c").search(ONE, 3, {}, (tag,))


@pytest.mark.parametrize(
    "vectors",
    [
        FLOATS[:1, :4].copy(),
        FLOATS[:1, :64].copy(),
        FLOATS[0, :8].copy(),
        FLOATS[:1, :8].astype(np.float64),
        FLOATS[:1, :8].astype(">f4"),
        np.zeros((1, 8), np.uint8),
        FLOATS[:9, :16:2],
        np.asfortranarray(FLOATS[:9, :8]),
        [[0.0] * 8],
        None,
    ],
)
def test_the_vectors_of_a_search_are_checked(database: Database, vectors: Any) -> None:
    held = database.collection("c")
    for ask in (held.find, held.explain):
        with pytest.raises(IllegalDimension):
            ask(held.prepare(3), vectors)


@pytest.mark.parametrize(
    ("vectors", "ids", "error"),
    [
        (np.zeros((0, 8), np.float32), None, IllegalRowRecord),
        (np.zeros(8, np.float32), np.array([1]), IllegalRowRecord),
        ([[0.0] * 8], np.array([1]), IllegalRowRecord),
        (np.zeros((2, 8), np.float32), np.array([1]), IllegalVectorId),
        (np.zeros((1, 8), np.float32), [1], IllegalVectorId),
        (np.zeros((1, 8), np.float32), np.array([1.0]), IllegalVectorId),
        (np.zeros((1, 8), np.float32), None, IllegalVectorId),
        (np.zeros((1, 4), np.float32), np.array([1]), IllegalDimension),
        (np.zeros((1, 8), np.float64), np.array([1]), IllegalDimension),
        # Several things are wrong: that is told which 1.x looks at first.
        (np.zeros((2, 4), np.float32), np.array([1]), IllegalVectorId),
        (np.zeros((1, 4), np.float32), None, IllegalVectorId),
    ],
)
def test_rows_are_checked(
    database: Database, vectors: Any, ids: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        database.collection("c").insert(vectors, ids)
    assert database.collection("c").count() == 200


@pytest.mark.parametrize(
    ("kind", "params", "anew"),
    [
        (IndexType.IVF_PQ, {"nlist": 4, "m": 8}, lambda database: make(database, 6, MetricType.L2)),
        (IndexType.HNSW, {"M": 8, "efConstruction": 40}, ANEW["binary"]),
    ],
)
def test_an_index_is_never_made_for_another_collection(
    database: Database, kind: IndexType, params: Any, anew: Any
) -> None:
    held = database.collection("c")
    anew(database)
    with pytest.raises(CollectionNotFound):
        set_index(held, int(kind), params)
    assert database.collection("c").definition.index == IndexSetting()


def test_readers_beside_one_who_makes_it_anew(database: Database) -> None:
    """Whatever they meet, answers are of one definition, and refusals are named."""
    over = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        vectors = {width: FLOATS[:2, :width].copy() for width in (4, 8, 64)}
        while not over.is_set():
            for width, wanted in vectors.items():
                request = SearchRequest("c", (), Rows(2, wanted.size, wanted), 3, None)
                try:
                    hits = rows.nearest(database, request, {}, lambda hits: hits)
                except MilvineError:
                    continue
                except BaseException as error:
                    wrong.append(f"{width}: {error!r}")
                    continue
                if hits.ids.size and hits.ids.shape[1] == 3 and (hits.distances[:, 0] != 0).any():
                    wrong.append(f"{width}: {hits}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(12):
            make(
                database,
                (4, 8, 64)[turn % 3],
                MetricType.HAMMING if turn % 4 == 3 and turn % 3 else MetricType.L2,
            )
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert not wrong


def test_what_was_prepared_is_not_answered_after_the_end(database: Database) -> None:
    held = database.collection("c")
    prepared = held.prepare(3)
    database.close()
    for call in (held.find, held.explain):
        with pytest.raises(DatabaseClosed):
            call(prepared, ONE)


def test_a_handle_is_of_no_other_collection_with_its_number(tmp_path: Path) -> None:
    """As where a reader's folder was replaced by another one."""
    quiet = Settings(background=False)
    for place, name in (("data", "films"), ("other", "songs")):
        with Database.open(tmp_path / place, quiet) as writer:
            writer.create_collection(name, 8, 1024, MetricType.L2)
            writer.collection(name).insert(FLOATS[:5, :8].copy(), np.arange(5))
    with Database.open(tmp_path / "data", quiet, read_only=True) as reader:
        held = reader.collection("films")
        (tmp_path / "data").rename(tmp_path / "away")
        (tmp_path / "other").rename(tmp_path / "data")
        reader.refresh()
        assert reader.collections() == ["songs"]
        with pytest.raises(CollectionNotFound, match="films"):
            held.count()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_database_is_closed_again_by_whichever_thread(
    database: Database, elsewhere: bool
) -> None:
    """The identity of a thread that ended is given to the next one."""
    wrong: list[BaseException] = []

    def close() -> None:
        try:
            database.close()
        except BaseException as error:
            wrong.append(error)

    if not elsewhere:
        database.close()
    for _ in range(5):
        thread = threading.Thread(target=close)
        thread.start()
        thread.join()
    assert not wrong and database.closed
