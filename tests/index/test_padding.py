"""Codes of a byte over dimensions that are no multiple of 8: zeros stand behind the rows, and
nobody notices.
"""

from __future__ import annotations

import io

import faiss
import numpy as np
import pytest

from milvine.index.image import write_image
from milvine.index.inverted import ivf
from milvine.index.native import METRICS
from milvine.index.padding import wide, widened
from milvine.index.registry import kernel
from milvine.testing import oracle
from milvine.testing.index_contract import built, flat_image
from milvine.types import Bytes, Floats, IndexType, MetricType

ROWS = np.random.default_rng(3).standard_normal((700, 13)).astype(np.float32)
SEARCH = {"nprobe": 4, "ef": 64}


def recall(index_type: IndexType, image: Bytes, metric: MetricType) -> float:
    opened = kernel(index_type).open(image, flat_image(ROWS, metric), metric)
    _, rows = opened.search(ROWS[:50], 5, SEARCH, None)
    truth, _ = oracle.nearest(ROWS[:50], ROWS, metric, 5)
    return oracle.recall(rows, oracle.pair_distances(ROWS[:50], ROWS, metric), truth, metric)


def test_widened() -> None:
    assert [wide(d) for d in (1, 8, 9, 100, 384)] == [8, 8, 16, 104, 384]
    assert widened(ROWS, 13) is ROWS
    assert (widened(ROWS, 16)[:, :13] == ROWS).all() and not widened(ROWS, 16)[:, 13:].any()


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.IP], ids=lambda m: m.name)
@pytest.mark.parametrize(
    "index_type", [IndexType.IVF_SQ8, IndexType.HNSW_SQ8], ids=lambda t: t.name
)
def test_any_dimension(
    index_type: IndexType, metric: MetricType, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"nlist": 4, "M": 16, "efConstruction": 100}
    assert recall(index_type, built(index_type, ROWS, metric, params), metric) >= 0.95
    # And with fewer rows to learn from than there are.
    monkeypatch.setattr(ivf, "TRAINING_CODES", 300)
    monkeypatch.setattr(faiss.ClusteringParameters, "max_points_per_centroid", 50, raising=False)
    with_a_hole: Floats = ROWS.copy()
    with_a_hole[3, 4] = np.nan
    image = built(index_type, with_a_hole, metric, params)
    opened = kernel(index_type).open(image, flat_image(with_a_hole, metric), metric)
    found = opened.search(ROWS[:50], 5, SEARCH, None)[1]
    assert (found >= 0).all() and not (found == 3).any()


def test_files_of_before_are_read() -> None:
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlat(13), 13, 4, faiss.ScalarQuantizer.QT_8bit, METRICS[MetricType.L2]
    )
    index.train(ROWS)
    index.add(ROWS)
    out = io.BytesIO()
    write_image(out.write, len(ROWS), len(ROWS), index)
    assert recall(IndexType.IVF_SQ8, np.frombuffer(out.getvalue(), np.uint8), MetricType.L2) >= 0.95
