"""More files than may be open: what was loaded stays, the rest takes turns."""

from __future__ import annotations

import numpy as np

from milvine.types import MetricType, Query


def test_more_files_are_loaded_than_may_be_open(open_database):
    database = open_database(open_files_max=2)
    database.create_collection("loaded", 8, 1024, MetricType.L2)
    database.create_collection("other", 8, 1024, MetricType.L2)
    vectors = np.random.default_rng(1).random((50, 8), dtype=np.float32)
    for number in range(6):
        for name in ("loaded", "other"):
            database.insert(name, vectors[number : number + 1], np.array([number]))
        database.flush()
    database.preload("loaded")
    files = {name for each in database._stores.names["loaded"].version.segments for name in each.segment.record.files}
    assert len(files) == 6 and files <= set(database.inspect().open_files)
    for name in ("other", "loaded", "other"):
        assert database.search(name, Query(vectors[:6], 1, {})).ids.ravel().tolist() == list(range(6))
    assert files <= set(database.inspect().open_files)
    assert len(set(database.inspect().open_files) - files) <= 2
    database.release("loaded")
    assert not files & set(database.inspect().open_files)
