"""Binary collections through the seam: every metric, before and after a flush, with and without an
index.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.index.binary import search_bits
from milvine.limits import FILLER_DISTANCE
from milvine.server.operations import Operations
from milvine.types import MetricType
from milvine.wire import packed
from tests.server.calling import Caller, params

M = MetricType
METRICS = [metric for metric in MetricType if metric.is_binary]
SETTINGS = Settings(background=False, search_threads=1, build_threads=1, build_in_subprocess=False)


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    with Database.open(tmp_path / "data", SETTINGS) as database:
        yield Caller(Operations(database, SETTINGS))


@pytest.fixture(scope="module")
def bits() -> np.ndarray:
    rng = np.random.default_rng(5)
    centres = rng.random((60, 64)) < 0.25
    rows = centres[rng.integers(0, 60, 5000)] ^ (rng.random((5000, 64)) < 0.06)
    return np.packbits(rows, axis=1)


def insert(caller: Caller, rows: np.ndarray, ids: np.ndarray) -> None:
    reply = packed.decode_ids(
        caller.operations.call("Insert", packed.encode_insert("c", rows, ids, "", "{}"))
    )
    assert (reply.code, reply.reason) == (0, "OK")


def search(caller: Caller, queries: np.ndarray, topk: int, wanted: Any = None) -> Any:
    raw = packed.encode_search(
        "c", queries, topk, (), None if wanted is None else json.dumps(wanted)
    )
    reply = packed.decode_hits(caller.operations.call("Search", raw))
    assert (reply.code, reply.reason) == (0, "OK")
    width = len(reply.ids) // len(queries)
    return reply.ids.reshape(-1, width), reply.distances.reshape(-1, width)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_rows_are_found_in_tail_and_segments(
    caller: Caller, bits: np.ndarray, metric: MetricType
) -> None:
    caller.create(dimension=64, metric=int(metric))
    rows, queries = bits[:600], np.concatenate([bits[:3], np.zeros((1, 8), np.uint8)])
    insert(caller, rows[:500], np.arange(500))
    caller.ok("Flush", collection_name_array=["c"])
    insert(caller, rows[500:], np.arange(500, 600))
    caller.ok("DeleteByID", collection_name="c", id_array=[1, 550])
    live = np.ones(600, bool)
    live[[1, 550]] = False
    expected, which = search_bits(queries, rows[live], metric, 599)
    ids, distances = search(caller, queries, 700)
    assert ids.shape == (4, 599)  # the live rows and one more
    found = which >= 0
    assert (ids == np.where(found, np.flatnonzero(live)[which], -1)).all()
    assert (distances == expected).all() and (ids[:, -1] == -1).all()
    assert (distances[ids < 0] == np.float32(FILLER_DISTANCE)).all()


def test_infinitely_far_is_found_and_beyond_comes_the_filler(caller: Caller) -> None:
    caller.create(dimension=8, metric=M.TANIMOTO)
    rows = np.array([[0b11], [0b1100], [0b1], [0b110000]], np.uint8)
    for i, row in enumerate(rows):
        insert(caller, row[None], np.array([(7, -1, 5, 3)[i]]))
        caller.ok("Flush", collection_name_array=["c"])
    ids, distances = search(caller, rows[:1], 5)
    assert ids.tolist() == [[7, 5, -1, 3, -1]]
    assert distances[0].tolist() == [0.0, 1.0, np.inf, np.inf, np.float32(FILLER_DISTANCE)]


@pytest.mark.parametrize("metric", [M.HAMMING, M.JACCARD, M.TANIMOTO], ids=lambda m: m.name)
def test_ivf_flat_is_built_and_used(caller: Caller, bits: np.ndarray, metric: MetricType) -> None:
    caller.create(dimension=64, metric=int(metric))
    insert(caller, bits, np.arange(len(bits)))
    caller.ok("CreateIndex", collection_name="c", index_type=2, extra_params=params(nlist=64))
    info = json.loads(caller.ok("ShowCollectionInfo", collection_name="c").json_info)
    assert [segment["index_name"] for segment in info["partitions"][0]["segments"]] == ["IVFFLAT"]
    caller.ok("DeleteByID", collection_name="c", id_array=[0])
    exact, _ = search_bits(bits[:50], bits[1:], metric, 10)
    ids, distances = search(caller, bits[:50], 10, {"nprobe": 16})
    assert np.mean(distances <= exact[:, -1:]) >= 0.95 and not (ids == 0).any()
    reply = caller.Search(
        collection_name="c", topk=1, query_record_array=[], extra_params=params(nprobe=0)
    )
    assert reply.status.error_code == 5


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_which_indexes_are_accepted(caller: Caller, metric: MetricType) -> None:
    caller.create(dimension=8, metric=int(metric))
    caller.ok("CreateIndex", collection_name="c", index_type=1)
    caller.ok("CreateIndex", collection_name="c", index_type=2, extra_params=params(nlist=4))
    good = {
        3: {"nlist": 4},
        6: {"nlist": 4, "m": 1},
        11: {"M": 8, "efConstruction": 100},
        12: {"n_trees": 1},
    }
    for index_type, accepted in good.items():
        refusal = caller.fails(
            "CreateIndex",
            collection_name="c",
            index_type=index_type,
            extra_params=params(**accepted),
        )
        assert refusal == (8, "Invalid index type for collection metric type")
    assert (
        caller.fails(
            "CreateIndex", collection_name="c", index_type=3, extra_params=params(nlist=0)
        )[0]
        == 5
    )


@pytest.mark.parametrize("metric", [M.SUBSTRUCTURE, M.SUPERSTRUCTURE], ids=lambda m: m.name)
def test_substructures_on_lists_fail_where_lists_would_be_built(
    caller: Caller, bits: np.ndarray, metric: MetricType
) -> None:
    caller.create(dimension=64, metric=int(metric))
    insert(caller, bits, np.arange(len(bits)))
    refusal = caller.fails(
        "CreateIndex", collection_name="c", index_type=2, extra_params=params(nlist=4)
    )
    assert refusal[0] == 21 and "Illegal index params" in refusal[1]
    ids, _ = search(caller, bits[:1], 1, {"nprobe": 1})
    assert ids[0, 0] >= 0


def test_bytes_come_back_as_they_went(caller: Caller, bits: np.ndarray) -> None:
    caller.create(dimension=64, metric=M.HAMMING)
    insert(caller, bits[:4], np.arange(4))
    for _ in ("tail", "segment"):
        reply = caller.ok("GetVectorsByID", collection_name="c", id_array=[2, 99, 0])
        assert [each.binary_data for each in reply.vectors_data] == [
            bits[2].tobytes(),
            b"",
            bits[0].tobytes(),
        ]
        assert not any(each.float_data for each in reply.vectors_data)
        caller.ok("Flush", collection_name_array=["c"])


def test_another_metric_of_the_family(caller: Caller, bits: np.ndarray) -> None:
    caller.create(dimension=64, metric=M.HAMMING)
    insert(caller, bits[:100], np.arange(100))
    for metric in METRICS:
        expected, which = search_bits(bits[:1], bits[:100], metric, 10)
        ids, distances = search(caller, bits[:1], 10, {"metric_type": int(metric)})
        assert (ids == which).all() and (distances == expected).all()
    reply = caller.Search(collection_name="c", topk=1, extra_params=params(metric_type=1))
    assert reply.status.error_code == 5


def test_sizes_and_kinds(caller: Caller, bits: np.ndarray) -> None:
    assert caller.fails(
        "CreateCollection",
        collection_name="c",
        dimension=12,
        index_file_size=1,
        metric_type=M.HAMMING,
    ) == (7, "Invalid collection dimension: 12. The collection dimension must be a multiple of 8")
    caller.create(dimension=64, metric=M.HAMMING)
    for rows in (bits[:2, :7], bits[:2].astype(np.float32)):
        raw = packed.encode_insert("c", np.ascontiguousarray(rows), None, "", "{}")
        assert packed.decode_ids(caller.operations.call("Insert", raw)).code == 7


def test_rows_and_lists_outlive_the_process(tmp_path: Path, bits: np.ndarray) -> None:
    for round_number in range(3):
        with Database.open(tmp_path / "data", SETTINGS) as database:
            caller = Caller(Operations(database, SETTINGS))
            if not round_number:
                caller.create(dimension=64, metric=M.JACCARD)
                insert(caller, bits, np.arange(len(bits)))
                caller.ok(
                    "CreateIndex", collection_name="c", index_type=2, extra_params=params(nlist=64)
                )
                insert(caller, bits[:10], np.arange(10_000, 10_010))
            ids, distances = search(caller, bits[:5], 3, {"nprobe": 16})
            assert (distances[:, 0] == 0).all() and (ids[:, 0] < 10_000).all()
