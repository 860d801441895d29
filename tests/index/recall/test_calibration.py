"""What an index is measured to find is what searches for rows that it does not hold find."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from milvine.bench.vectors import clustered
from milvine.index import score
from milvine.index.base import BuildJob, OpenIndex
from milvine.index.binary import search_bits
from milvine.index.exact import search_exact
from milvine.index.flat import flat_header
from milvine.index.recall import calibration
from milvine.index.recall.calibration import Built, calibrate
from milvine.index.recall.table import RecallTable
from milvine.index.registry import kernel, serving
from milvine.index.score import exact_distances
from milvine.index.spec import Breadth
from milvine.testing.index_contract import built, flat_image
from milvine.types import Bytes, Floats, IndexType, MetricType, RowMask, Vectors

WORDNET = Path(__file__).parents[4] / "shared" / "data" / "wordnet_minilm384.npz"
L2, IP = MetricType.L2, MetricType.IP
T = IndexType
WITHIN = 0.01
GRAPH = {"M": 12, "efConstruction": 80}
NSG = {"search_length": 40, "out_degree": 20, "candidate_pool_size": 80, "knng": 20}
BUILD: dict[IndexType, Mapping[str, int]] = {
    T.IVF_FLAT: {"nlist": 128},
    T.IVF_SQ8: {"nlist": 128},
    T.IVF_PQ: {"nlist": 128, "m": 16},
    T.IVF_PQFS: {"nlist": 128},
    T.HNSW: GRAPH,
    T.HNSW_SQ8: GRAPH,
    T.RNSG: NSG,
}


def breadth_of(index_type: IndexType, metric: MetricType = L2) -> Breadth:
    found = serving(index_type, metric)
    assert found is not None and found.breadth is not None
    return found.breadth


def measured(
    index_type: IndexType,
    vectors: Floats,
    metric: MetricType = L2,
    live: RowMask | None = None,
    params: Mapping[str, int] | None = None,
) -> tuple[OpenIndex, RecallTable | None]:
    build = params or BUILD[index_type]
    image, flat = built(index_type, vectors, metric, build, live), flat_image(vectors, metric)
    job = BuildJob(vectors, metric, build, lambda _: None, live=live)
    made = Built(job, kernel(index_type), image.copy(), flat, 20.0)
    return kernel(index_type).open(image, flat, metric), calibrate(
        made, breadth_of(index_type, metric)
    )


def share(
    opened: tuple[OpenIndex, RecallTable | None],
    index_type: IndexType,
    vectors: Floats,
    queries: Floats,
    recall: float,
    k: int,
    metric: MetricType = L2,
    mask: RowMask | None = None,
) -> float:
    """What a search finds that asks for a recall; 1 where all rows are compared."""
    index, table = opened
    assert table is not None
    live = len(vectors) if mask is None else mask.live
    params = table.params(recall, k, live, breadth_of(index_type, metric))
    if params is None:
        return 1.0
    exact = search_exact(queries, vectors, metric, k, mask)[1]
    found = index.search(queries, k, params, mask)[1]
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]))


@cache
def around_centres() -> tuple[Floats, Floats]:
    data = clustered(12_000, 1000, 32)
    return data.train, data.queries


@cache
def measured_once(index_type: IndexType) -> tuple[OpenIndex, RecallTable | None]:
    return measured(index_type, around_centres()[0])


@cache
def sentences() -> tuple[Floats, Floats]:
    if not WORDNET.exists():
        pytest.skip("the real vectors are not here")
    with np.load(WORDNET) as arrays:
        rows, queries = arrays["train_i8"][::9][:12_000], arrays["queries_i8"]
    unit = [
        part.astype(np.float32) / np.linalg.norm(part.astype(np.float32), axis=1)[:, None]
        for part in (rows, queries)
    ]
    return unit[0].astype(np.float32), unit[1].astype(np.float32)


@pytest.mark.parametrize("k", [1, 5, 10, 50, 100, 250])
@pytest.mark.parametrize("index_type", BUILD, ids=lambda each: each.name)
def test_clustered_rows(index_type: IndexType, k: int) -> None:
    rows, queries = around_centres()
    opened = measured_once(index_type)
    for recall in (0.8, 0.9, 0.95, 0.98):
        found = share(opened, index_type, rows, queries, recall, k)
        assert found >= recall - WITHIN, (recall, found)


@pytest.mark.parametrize("metric", [L2, IP], ids=lambda each: each.name)
@pytest.mark.parametrize(
    "index_type", [T.IVF_FLAT, T.IVF_SQ8, T.IVF_PQFS, T.HNSW], ids=lambda each: each.name
)
def test_real_vectors(index_type: IndexType, metric: MetricType) -> None:
    rows, queries = sentences()
    opened = measured(index_type, rows, metric)
    for recall in (0.8, 0.9, 0.95):
        for k in (10, 100):
            found = share(opened, index_type, rows, queries, recall, k, metric)
            assert found >= recall - WITHIN, (recall, k, found)


@pytest.mark.parametrize("deleted", [0.1, 0.5])
@pytest.mark.parametrize(
    "index_type", [T.IVF_FLAT, T.IVF_PQFS, T.HNSW, T.RNSG], ids=lambda each: each.name
)
def test_rows_deleted_since(index_type: IndexType, deleted: float) -> None:
    rows, queries = around_centres()
    mask = RowMask.from_bool(np.random.default_rng(3).random(len(rows)) >= deleted)
    for k in (1, 10, 100):
        found = share(measured_once(index_type), index_type, rows, queries, 0.9, k, mask=mask)
        assert found >= 0.9 - WITHIN, (k, found)


def test_rows_deleted_before_nan_and_copies() -> None:
    rows, queries = around_centres()
    rows = rows.copy()
    rows[::7] = rows[0]  # copies
    rows[1::50, 3] = np.nan
    live = RowMask.from_bool(np.arange(len(rows)) % 3 > 0)
    for index_type in (T.IVF_FLAT, T.IVF_PQFS, T.HNSW, T.HNSW_SQ8):
        opened = measured(index_type, rows, live=live)
        table = opened[1]
        assert table is not None and table.rows == live.live
        found = share(opened, index_type, rows, queries, 0.9, 10, mask=live)
        assert found >= 0.9 - WITHIN, (index_type, found)


def test_it_is_the_least_that_is_enough_or_about() -> None:
    rows, queries = around_centres()
    for index_type in (T.IVF_FLAT, T.HNSW):
        assert share(measured_once(index_type), index_type, rows, queries, 0.9, 10) < 0.96


def test_an_index_that_never_finds_so_much_is_not_relied_on() -> None:
    rows, _ = around_centres()
    coarse = Breadth("nprobe", 1, 999_999, beside={"refine": 1})
    image, flat = built(T.IVF_PQ, rows, L2, {"nlist": 16, "m": 2}), flat_image(rows, L2)
    job = BuildJob(rows, L2, {"nlist": 16, "m": 2}, lambda _: None)
    table = calibrate(Built(job, kernel(T.IVF_PQ), image.copy(), flat, 20.0), coarse)
    assert table is not None
    assert table.params(0.9, 10, len(rows), coarse) is None
    assert max(point.recall for curve in table.curves for point in curve.points) < 0.9


def test_rows_are_looked_at_where_no_others_are_read_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With little memory, a row in the mapping that is read in order brings in megabytes."""
    rows, _ = around_centres()
    image, flat = built(T.IVF_PQ, rows, L2, BUILD[T.IVF_PQ]), flat_image(rows, L2)
    looked: list[Floats] = []

    def distances(queries: Floats, vectors: Floats, *rest: Any) -> Floats:
        looked.append(vectors)
        return exact_distances(queries, vectors, *rest)

    monkeypatch.setattr(calibration, "exact_distances", distances)
    monkeypatch.setattr(score, "exact_distances", distances)
    job = BuildJob(rows, L2, BUILD[T.IVF_PQ], lambda _: None)
    assert calibrate(Built(job, kernel(T.IVF_PQ), image.copy(), flat, 20.0), breadth_of(T.IVF_PQ))
    assert len(looked) > 4 and all(np.shares_memory(each, flat) for each in looked)


def test_what_waits_for_a_disk_takes_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = around_centres()
    _, usual = measured(T.IVF_FLAT, rows)
    hours = itertools.count(0, 3600.0)
    slow = SimpleNamespace(process_time=time.process_time, monotonic=lambda: next(hours))
    monkeypatch.setattr(calibration, "time", slow)
    assert usual is not None and measured(T.IVF_FLAT, rows)[1] is None


def bits(count: int) -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(8)
    centres = rng.random((60, 256)) < 0.3
    near = centres[rng.integers(0, 60, count + 300)] ^ (rng.random((count + 300, 256)) < 0.1)
    packed = np.packbits(near, axis=1)
    return packed[:count], packed[count:]


@pytest.mark.parametrize("metric", [MetricType.HAMMING, MetricType.JACCARD])
def test_binary_rows(metric: MetricType) -> None:
    rows, queries = bits(8000)
    binary = kernel(T.IVF_FLAT, binary=True)
    out: list[bytes] = []
    job = BuildJob(rows, metric, {"nlist": 64}, lambda piece: out.append(bytes(piece)))
    binary.build(job)
    image: Bytes = np.frombuffer(b"".join(out), np.uint8)
    flat = flat_bits(rows)
    breadth = breadth_of(T.IVF_FLAT, metric)
    table = calibrate(Built(job, binary, image.copy(), flat, 20.0), breadth)
    assert table is not None
    params = table.params(0.9, 10, len(rows), breadth)
    assert params is not None and params["nprobe"] < 64
    farthest = search_bits(queries, rows, metric, 10)[0][:, -1:]
    distances = binary.open(image, flat, metric).search(queries, 10, params, None)[0]
    assert (distances <= farthest).mean() >= 0.9 - WITHIN


def flat_bits(rows: Vectors) -> Bytes:
    head = flat_header(8 * rows.shape[1], len(rows), L2)
    return np.frombuffer(head + rows.tobytes(), np.uint8)


def test_few_rows_are_not_measured() -> None:
    rows, _ = around_centres()
    assert measured(T.IVF_FLAT, rows[:1000], params={"nlist": 8})[1] is None
    nothing = RowMask.from_bool(np.zeros(4000, bool))
    assert measured(T.IVF_FLAT, rows[:4000], live=nothing)[1] is None


def test_what_is_measured_leaves_the_file_alone_and_is_the_same_again() -> None:
    rows, _ = around_centres()
    first, again = measured(T.HNSW, rows[:6000])[1], measured(T.HNSW, rows[:6000])[1]
    assert first is not None and again is not None

    def found(table: RecallTable) -> Any:
        return [(c.k, [(p.value, p.recall) for p in c.points]) for c in table.curves]

    assert found(first) == found(again)
