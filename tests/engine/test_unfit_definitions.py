"""What no collection, partition or index can have is refused by the engine itself: the catalog is
read back by all.
"""

from __future__ import annotations

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import (
    CallerError,
    IllegalArgument,
    IllegalCollectionName,
    IllegalDimension,
    IllegalIndexType,
    IllegalMetricType,
    IllegalPartition,
)
from milvine.types import IndexSetting, IndexType, MetricType

QUIET = Settings(background=False, search_threads=1, build_in_subprocess=False)
COLLECTIONS = [
    (("d", 0, 64, MetricType.L2), IllegalDimension),
    (("d", -4, 64, MetricType.L2), IllegalDimension),
    (("d", 1 << 40, 64, MetricType.L2), IllegalDimension),
    (("d", 12, 64, MetricType.HAMMING), IllegalDimension),
    (("d", 4.5, 64, MetricType.L2), IllegalArgument),
    (("d", "4", 64, MetricType.L2), IllegalArgument),
    (("d", 4, -1, MetricType.L2), IllegalArgument),
    (("d", 4, 1 << 40, MetricType.L2), IllegalArgument),
    (("d", 4, 64, MetricType.INVALID), IllegalMetricType),
    (("d", 4, 64, 99), IllegalMetricType),
    (("", 4, 64, MetricType.L2), IllegalCollectionName),
    (("d" * 300, 4, 64, MetricType.L2), IllegalCollectionName),
    (("a b", 4, 64, MetricType.L2), IllegalCollectionName),
]
INDEXES = [
    (IndexSetting(99, "{}"), IllegalIndexType),
    (IndexSetting(IndexType.SPTAG_KDT, "{}"), IllegalIndexType),
    (IndexSetting(IndexType.IVF_FLAT, "{"), IllegalArgument),
    (IndexSetting(IndexType.IVF_FLAT, '{"nlist": 0}'), IllegalArgument),
    (IndexSetting(IndexType.IVF_FLAT, "[]"), CallerError),
    (IndexSetting(IndexType.IVF_PQ, '{"nlist": 4, "m": 3}'), CallerError),
    (IndexSetting(IndexType.FLAT, '{"a": "\\ud800"}'), IllegalArgument),
    (IndexSetting(IndexType.FLAT, '{"\\ud800": 1}'), IllegalArgument),
    (IndexSetting(IndexType.FLAT, '{"a": ' + "[" * 40 + "]" * 40 + "}"), IllegalArgument),
]


@pytest.fixture
def db(tmp_path):
    with Database.open(tmp_path / "db", QUIET) as database:
        database.create_collection("c", 4, 64, MetricType.L2)
        database.collection("c").insert(np.ones((2, 4), np.float32), np.arange(2))
        yield database
    with Database.open(tmp_path / "db", QUIET) as again:
        assert again.collections() == ["c"] and again.collection("c").count() == 2
        assert again.collection("c").definition.index == IndexSetting()
        assert again.collection("c").partitions() == ["_default"]


@pytest.mark.parametrize(("values", "error"), COLLECTIONS)
def test_collections(db, values, error):
    with pytest.raises(error):
        db.create_collection(*values)


@pytest.mark.parametrize("tag", ["", " \t", "ü" * 200, "t" * 256, "_default"])
def test_partitions(db, tag):
    with pytest.raises(IllegalPartition):
        db.collection("c").create_partition(tag)


@pytest.mark.parametrize(("setting", "error"), INDEXES)
def test_indexes(db, setting, error):
    with pytest.raises(error):
        db.collection("c").create_index(setting)


def test_an_index_of_a_binary_collection(db):
    db.create_collection("b", 16, 64, MetricType.HAMMING)
    with pytest.raises(IllegalIndexType):
        db.collection("b").create_index(
            IndexSetting.of(IndexType.HNSW, {"M": 8, "efConstruction": 50})
        )
    db.collection("b").drop()
