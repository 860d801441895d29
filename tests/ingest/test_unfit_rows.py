"""What does not fit its collection is refused before it is logged, whoever sends it and whatever
comes between.
"""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import (
    CallerError,
    CollectionNotFound,
    IllegalDimension,
    IllegalRowRecord,
    IllegalVectorId,
)
from milvine.server.operations import rows as operations
from milvine.state.requests import DeleteRequest, InsertRequest
from milvine.types import MetricType
from milvine.wire import packed
from milvine.wire.row_records import Rows

QUIET = Settings(background=False, search_threads=1)
GOOD = np.ones((2, 4), np.float32)


@pytest.fixture
def db(tmp_path):
    with Database.open(tmp_path / "db", QUIET) as database:
        database.create_collection("c", 4, 64, MetricType.L2)
        database.create_collection("b", 16, 64, MetricType.HAMMING)
        yield database


def after_a_kill(db, tmp_path):
    """The same database as the next process finds it."""
    shutil.copytree(tmp_path / "db", tmp_path / "killed")
    return Database.open(tmp_path / "killed", QUIET)


UNFIT = {
    "narrow": (np.ones((2, 3), np.float32), None, IllegalDimension),
    "wide": (np.ones((2, 8), np.float32), None, IllegalDimension),
    "as many bytes": (np.ones((2, 2), np.float64), None, IllegalDimension),
    "float64": (np.ones((2, 4)), None, IllegalDimension),
    "big-endian": (np.ones((2, 4), ">f4"), None, IllegalDimension),
    "bytes": (np.ones((2, 16), np.uint8), None, IllegalDimension),
    "flat": (np.ones(4, np.float32), None, IllegalRowRecord),
    "deep": (np.ones((2, 1, 4), np.float32), None, IllegalRowRecord),
    "none": (np.ones((0, 4), np.float32), None, IllegalRowRecord),
    "a list": ([[1.0] * 4] * 2, None, IllegalRowRecord),
    "fewer ids": (GOOD, np.arange(1), IllegalVectorId),
    "more ids": (GOOD, np.arange(3), IllegalVectorId),
    "no ids": (GOOD, np.arange(0), IllegalVectorId),
    "ids of 32 bits": (GOOD, np.arange(2, dtype=np.int32), IllegalVectorId),
    "ids of floats": (GOOD, np.arange(2.0), IllegalVectorId),
    "ids in two dimensions": (GOOD, np.arange(2).reshape(2, 1), IllegalVectorId),
    "ids in a list": (GOOD, [1, 2], IllegalVectorId),
}


@pytest.mark.parametrize("case", UNFIT)
def test_the_engine_refuses(db, tmp_path, case):
    vectors, ids, error = UNFIT[case]
    with pytest.raises(error):
        db.collection("c").insert(vectors, ids)
    first = None if ids is None else np.arange(2)
    db.collection("c").insert(GOOD, first)
    with after_a_kill(db, tmp_path) as again:
        assert again.collection("c").count() == 2


@pytest.mark.parametrize("case", [name for name in UNFIT if "list" not in name])
def test_the_writer_refuses_and_the_rest_of_the_group_is_stored(db, tmp_path, case):
    vectors, ids, error = UNFIT[case]
    state, writer, go = db.collection("c").state, db.stores.writer, threading.Event()
    waiting = threading.Thread(target=lambda: writer.call(lambda: go.wait(60)))
    waiting.start()
    given = None if ids is None else np.arange(2)
    bad = InsertRequest(state, "_default", vectors, ids)
    answers = [writer.submit(r) for r in (InsertRequest(state, "_default", GOOD, given), bad)]
    answers.append(writer.submit(InsertRequest(state, "_default", GOOD, given)))
    go.set()
    waiting.join()
    assert len(answers[0].result()) == len(answers[2].result()) == 2
    with pytest.raises(error):
        answers[1].result()
    with after_a_kill(db, tmp_path) as again:
        assert again.collection("c").count() == db.collection("c").count() == 4


@pytest.mark.parametrize(
    "ids", [np.arange(2.0), np.arange(2, dtype=np.int32), np.ones((1, 2), np.int64), [1, 2], 3]
)
def test_deletes_of_what_is_no_id(db, tmp_path, ids):
    db.collection("c").insert(GOOD, np.arange(2))
    with pytest.raises(IllegalVectorId):
        db.collection("c").delete(ids)
    if isinstance(ids, np.ndarray):
        request = DeleteRequest(db.collection("c").state, "", ids)
        with pytest.raises(IllegalVectorId):
            db.stores.writer.submit(request).result()
    db.collection("c").delete(np.array([1]))
    with after_a_kill(db, tmp_path) as again:
        assert again.collection("c").count() == 1


def test_strided_vectors_and_ids_are_stored_as_they_are(db, tmp_path):
    vectors = np.arange(64, dtype=np.float32).reshape(8, 8)[::2, ::2]
    db.collection("c").insert(vectors, np.arange(8)[::2])
    db.collection("c").delete(np.arange(4)[::2])
    with after_a_kill(db, tmp_path) as again:
        assert (
            again.collection("c").get(np.array([4, 6]))[1] == vectors[2:]
        ).all() and again.collection("c").count() == 2


@pytest.mark.parametrize(
    ("dimension", "metric"), [(8, MetricType.L2), (2, MetricType.IP), (128, MetricType.JACCARD)]
)
def test_a_collection_made_anew_between_check_and_insert(db, tmp_path, dimension, metric):
    held = db.collection("c")
    held.drop()
    db.create_collection("c", dimension, 64, metric)
    wanted = packed.InsertRequest("c", Rows(2, GOOD.size, GOOD), np.arange(2), "", "")
    with pytest.raises(CollectionNotFound):
        operations.store_rows(held, wanted)
    with pytest.raises(IllegalDimension):
        operations.store_rows(db, wanted)
    with after_a_kill(db, tmp_path) as again:
        assert (
            again.collection("c").definition.dimension == dimension
            and again.collection("c").count() == 0
        )


def test_a_collection_dropped_while_an_insert_waits(db, tmp_path):
    state = db.collection("c").state
    db.collection("c").drop()
    db.create_collection("c", 8, 64, MetricType.L2)
    late = db.stores.writer.submit(InsertRequest(state, "_default", GOOD, None))
    with pytest.raises(CollectionNotFound):
        late.result()
    with after_a_kill(db, tmp_path) as again:
        assert again.collection("c").count() == 0


def test_what_is_refused_is_the_callers_to_change(db):
    for vectors, ids, error in UNFIT.values():
        assert issubclass(error, CallerError)
        with pytest.raises(CallerError, match=r"[A-Za-z]"):
            db.collection("c").insert(vectors, ids)
