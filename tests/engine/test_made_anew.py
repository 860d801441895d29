"""A collection that is dropped and made anew between the checks of a request and its work: never a
mixture of both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.engine.sharing import SharedScans
from milvine.errors import (
    CollectionNotFound,
    IllegalArgument,
    IllegalDimension,
    IllegalTopk,
    MilvineError,
)
from milvine.server.operations import prepared_search, rows
from milvine.server.operations.indexes import set_index
from milvine.types import IndexSetting, IndexType, MetricType, Query
from milvine.wire.packed import IdsRequest, Rows, SearchRequest

FLOATS = np.random.default_rng(3).random((300, 64), dtype=np.float32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    prepared_search._kept.clear()
    with Database.open(tmp_path / "data", Settings(background=False)) as opened:
        make(opened, 8, MetricType.L2)
        yield opened


def make(database: Database, dimension: int, metric: MetricType) -> None:
    """The collection `c`, anew: 200 rows, also those that were there before in another width."""
    if database.has_collection("c"):
        database.drop_collection("c")
    database.create_collection("c", dimension, 1024, metric)
    width = metric.width(dimension)
    vectors = (
        (FLOATS[:200, :width] * 255).astype(np.uint8)
        if metric.is_binary
        else FLOATS[:200, :width].copy()
    )
    database.insert("c", vectors, np.arange(200))


def searched(width: int, nq: int = 1) -> SearchRequest:
    vectors = FLOATS[:nq, :width].copy()
    return SearchRequest("c", (), Rows(nq, vectors.size, vectors), 3, None)


ANEW: dict[str, Callable[[Database], None]] = {
    "wider": lambda database: make(database, 64, MetricType.L2),
    "narrower": lambda database: make(database, 4, MetricType.L2),
    "binary": lambda database: make(database, 64, MetricType.HAMMING),
}


@pytest.mark.parametrize("anew", ANEW)
@pytest.mark.parametrize("nq", [1, 2, 40])
def test_a_search_checked_before_is_refused_by_another_width(
    database: Database, anew: str, nq: int
) -> None:
    for _ in range(2):  # the second is known
        make(database, 8, MetricType.L2)
        with rows.nearest(database, searched(8, nq), {}) as hits:
            assert hits.ids[0, 0] == 0
        answer = rows.nearest(database, searched(8, nq), {})
        ANEW[anew](database)
        with pytest.raises(IllegalDimension, match=r"float32 .*8.*collection c takes"), answer:
            pass


def test_one_that_fits_is_answered_by_the_new_one(database: Database) -> None:
    answer = rows.nearest(database, searched(8), {})
    database.drop_collection("c")
    database.create_collection("c", 8, 1024, MetricType.IP)
    database.insert("c", FLOATS[:1, :8].copy(), np.array([7]))
    with answer as hits:
        assert hits.ids[0, 0] == 7 and hits.distances[0, 0] == pytest.approx(
            float(FLOATS[0, :8] @ FLOATS[0, :8])
        )


def test_parameters_are_held_against_the_index_that_is_there_now(database: Database) -> None:
    by_vector, by_id = (
        rows.nearest(database, searched(8), {}),
        rows.nearest_to_stored(database, "c", np.array([1]), 3, {}),
    )
    database.create_index("c", IndexSetting.of(IndexType.HNSW, {"M": 8, "efConstruction": 40}))
    for answer in (by_vector, by_id):
        with pytest.raises(IllegalArgument, match="ef"), answer:
            pass


@pytest.mark.parametrize("k", [0, -1, 16385])
def test_the_engine_checks_k(database: Database, k: int) -> None:
    with pytest.raises(IllegalTopk):
        database.search("c", Query(FLOATS[:1, :8].copy(), k))
    with pytest.raises(IllegalTopk):
        database.search_by_id("c", np.array([1]), k, {})


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
    ],
)
def test_the_engine_checks_the_vectors(database: Database, vectors: Any) -> None:
    for ask in (database.search, database.explain):
        with pytest.raises(IllegalDimension):
            ask("c", Query(vectors, 3))


def test_a_pass_that_is_shared_reads_a_definition_that_its_members_fit(database: Database) -> None:
    shared = SharedScans(database._find, 1)
    state = database._state("c")
    query = Query(FLOATS[:1, :8].copy(), 3, checked=database.collection("c"))
    database.create_index("c", IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 8}))
    with pytest.raises(IllegalArgument, match="nprobe"):
        shared.search(state, query)


def test_who_still_holds_a_dropped_collection_is_told(database: Database) -> None:
    state = database._state("c")
    database.drop_collection("c")
    with pytest.raises(CollectionNotFound):
        database._find(state, Query(FLOATS[:1, :8].copy(), 3))


def test_rows_are_of_one_collection(database: Database) -> None:
    answer = rows.stored_rows(database, IdsRequest("c", np.arange(3), ""))
    make(database, 64, MetricType.HAMMING)
    with answer as (found, vectors):
        assert found.all() and vectors.dtype == np.uint8 and vectors.shape == (3, 8)


@pytest.mark.parametrize(
    ("kind", "params", "anew"),
    [
        (IndexType.IVF_PQ, {"nlist": 4, "m": 8}, lambda database: make(database, 6, MetricType.L2)),
        (IndexType.HNSW, {"M": 8, "efConstruction": 40}, ANEW["binary"]),
    ],
)
def test_an_index_is_checked_against_what_it_is_built_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: IndexType, params: Any, anew: Any
) -> None:
    create = database.create_index

    def after_all_checks(name: str, setting: IndexSetting) -> None:
        anew(database)
        create(name, setting)

    monkeypatch.setattr(database, "create_index", after_all_checks)
    with pytest.raises(MilvineError):
        set_index(database, "c", int(kind), params)
    assert database.collection("c").index == IndexSetting()


def test_readers_beside_one_who_makes_it_anew(database: Database) -> None:
    """Whatever they meet, answers are of one definition, and refusals are named."""
    over = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        vectors = {width: FLOATS[:2, :width].copy() for width in (4, 8, 64)}
        while not over.is_set():
            for width, wanted in vectors.items():
                try:
                    with rows.nearest(
                        database, SearchRequest("c", (), Rows(2, wanted.size, wanted), 3, None), {}
                    ) as hits:
                        if (
                            hits.ids.size
                            and hits.ids.shape[1] == 3
                            and (hits.distances[:, 0] != 0).any()
                        ):
                            wrong.append(f"{width}: {hits}")
                except MilvineError:
                    continue
                except BaseException as error:
                    wrong.append(f"{width}: {error!r}")

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
