"""Rows and segments (specification 4.8 to 4.12)."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from milvine.server.admission.answers import budget
from tests.server.rest.asking import OK, Asking

ROWS = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.1]]
FILLER = {"id": "-1", "distance": "340282346638528859811704183484516925440.000000"}
VECTORS = "/collections/c/vectors"


@pytest.fixture
def stored(rest: Asking) -> Asking:
    rest.create()
    assert rest.insert(ROWS, ["1", "2", str((1 << 63) - 1)]) == ["1", "2", str((1 << 63) - 1)]
    return rest


def test_generated_ids(rest: Asking) -> None:
    rest.create()
    ids = rest.insert(ROWS)
    assert len({int(id) for id in ids}) == 3 and ids == sorted(ids)
    assert rest.code("POST", VECTORS, {"vectors": ROWS, "ids": ["1", "2", "3"]}) == (400, 12)


def test_ids_may_be_integers(rest: Asking) -> None:
    rest.create()
    assert rest.insert(ROWS, [1, "2", 3]) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 34),
        ({"vectors": None}, 34),
        ({"vectors": []}, 11),
        ({"vectors": [[]]}, 11),
        ({"vectors": [[1, 2]], "ids": ["9"]}, 7),
        ({"vectors": [[1, 2, 3, 4], [1]]}, 11),
        ({"vectors": [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8]]}, 11),
        ({"vectors": [1, 2, 3, 4]}, 36),
        ({"vectors": "x"}, 36),
        ({"vectors": [[1, 2, 3, "4"]]}, 36),
        ({"vectors": [[1, 2, 3, None]]}, 36),
        ({"vectors": [[1, 2, 3, True]]}, 36),
        ({"vectors": [[1, 2, 3, [4]]]}, 36),
        ({"vectors": [[1, 2, 3, 1e39]]}, 11),
        ({"vectors": [ROWS[0], [1, 2, 3, 2e19]]}, 11),
        ({"vectors": [ROWS[0]], "ids": []}, 12),
        ({"vectors": ROWS, "ids": ["1"]}, 12),
        ({"vectors": [ROWS[0]], "ids": "1"}, 35),
        ({"vectors": [ROWS[0]], "ids": ["x"]}, 12),
        ({"vectors": [ROWS[0]], "ids": [1.5]}, 35),
        ({"vectors": [ROWS[0]], "ids": ["-1"]}, 12),
        ({"vectors": [ROWS[0]], "ids": [-1]}, 12),
        ({"vectors": [ROWS[0]], "ids": [str(1 << 63)]}, 12),
        ({"vectors": [ROWS[0]], "ids": ["9"], "partition_tag": 5}, 36),
        ({"vectors": [ROWS[0]], "ids": ["9"], "partition_tag": "none"}, 1),
    ],
)
def test_inserts_that_cannot_be(stored: Asking, body: dict[str, Any], code: int) -> None:
    assert stored.code("POST", VECTORS, body) == (400, code)
    assert stored.ask("GET", "/collections/c")[1]["count"] == 3


@pytest.mark.parametrize(
    ("body", "code"), [(b"", 34), (b"{", 36), (b'{"vectors":[[NaN,1,2,3]]}', 36), (b"7", 35)]
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_bodies_that_are_none(stored: Asking, method: str, body: bytes, code: int) -> None:
    assert stored.code(method, VECTORS, content=body) == (400, code)


def test_large_bodies_are_read_as_small_ones(rest: Asking) -> None:
    rest.create(dimension=64)
    rows = np.random.default_rng(1).random((3000, 64), dtype=np.float32)
    ids = [str(number) for number in range(3000)]
    rest.insert(rows.tolist(), ids)
    assert rest.ask("GET", "/collections/c/vectors?ids=0,2999")[1]["vectors"][1][
        "vector"
    ] == pytest.approx(rows[-1])
    found = rest.search(rows[:1500].tolist(), 1)
    assert found["num"] == 1500 and [row[0]["id"] for row in found["result"]] == ids[:1500]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ("[1,2,3,4],[1,2,3]", 11),
        ("[1,2,3,4],[1,2,3,true]", 36),
        ("[1,2,3,4],7", 36),
        ("[1,2,3,4] [1,2,3,4]", 36),
        ("[1,2,3,4],", 36),
        ("[1,2,3,4],[1,2,3,]", 36),
        ("[1,2,3,4],[[1],2,3,4]", 36),
        ('[1,2,3,4],["]]","","",""]', 36),
        ("[1,2,3,4],[1,2,3,1e39]", 11),
    ],
)
def test_large_bodies_that_are_wrong(rest: Asking, rows: str, code: int) -> None:
    rest.create()
    many = "[1.5,2.5,3.5,4.5]," * 20_000
    assert rest.code("POST", VECTORS, content=f'{{"vectors":[{many}{rows}]}}'.encode()) == (
        400,
        code,
    )
    assert rest.ask("GET", "/collections/c")[1]["count"] == 0


def test_get(stored: Asking) -> None:
    status, answer = stored.ask("GET", f"{VECTORS}?ids=2,7,1,2")
    rows = [("2", ROWS[1]), ("7", []), ("1", ROWS[0]), ("2", ROWS[1])]
    assert (status, answer) == (
        200,
        {**OK, "vectors": [{"id": id, "vector": row} for id, row in rows]},
    )
    reply = stored.client.get(f"{VECTORS}?ids={(1 << 63) - 1}")
    # The shortest text of a float of 32 bits.
    assert reply.text.endswith('"vector":[0.0,0.0,1.0,0.1]}]}')
    assert stored.code("GET", VECTORS) == (400, 33)
    assert stored.code("GET", f"{VECTORS}?ids=1,x") == (400, 12)
    assert stored.code("GET", f"{VECTORS}?ids={','.join(['1'] * 1001)}") == (400, 5)
    assert stored.code("GET", f"{VECTORS}?ids=1&partition_tag=none") == (400, 1)
    assert stored.ask("GET", f"{VECTORS}?ids=1&partition_tag=_default")[0] == 200
    stored.create("empty")
    assert stored.code("GET", "/collections/empty/vectors?ids=1") == (404, 4)


def test_search(stored: Asking) -> None:
    hits = [{"id": "1", "distance": "0.250000"}, {"id": "2", "distance": "1.250000"}]
    assert stored.search([[0.5, 0, 0, 0]] * 2) == {"num": 2, "result": [hits, hits]}
    many = stored.search([[0.5, 0, 0, 0]], 9)["result"][0]
    assert many[:2] == hits and len(many) == 4 and many[3] == FILLER
    by_id = {"search": {"topk": 1, "params": {}, "ids": ["2", "1"], "vectors": [[9, 9, 9, 9]]}}
    found = stored.ask("PUT", VECTORS, by_id)[1]
    assert [row[0] for row in found["result"]] == [
        {"id": id, "distance": "0.000000"} for id in ("2", "1")
    ]
    stored.create("empty")
    assert stored.search(ROWS, name="empty") == {"num": 0, "result": []}


def test_search_where(stored: Asking) -> None:
    for tag, row in (("p1", [9, 9, 9, 9]), ("p2", [8, 8, 8, 8])):
        stored.ask("POST", "/collections/c/partitions", {"partition_tag": tag})
        stored.insert([row], ["10" + tag[1]], partition_tag=tag)

    def ids(**more: Any) -> list[str]:
        return [hit["id"] for hit in stored.search([[9, 9, 9, 9]], 2, **more)["result"][0]]

    assert (
        ids()
        == ids(partition_tags=[])
        == ids(partition_tags=None)
        == ids(partition_tags=["p."])
        == ["101", "102"]
    )
    assert ids(partition_tags=[" p2 "]) == ["102", "-1"]
    assert "101" not in ids(partition_tags=["_default"])
    stored.flush()
    name = stored.ask("GET", "/collections/c/segments?partition_tag=p2")[1]["segments"][0]["name"]
    assert ids(file_ids=[name]) == ["102", "-1"]
    search = {"topk": 1, "params": {}, "vectors": [[9, 9, 9, 9]]}
    assert stored.code("PUT", VECTORS, {"search": {**search, "partition_tags": ["p"]}}) == (400, 1)
    assert stored.code("PUT", VECTORS, {"search": {**search, "partition_tags": "p1"}}) == (400, 36)
    other = stored.ask("PUT", VECTORS, {"search": {**search, "params": {"metric_type": 2}}})
    assert other[1]["result"][0][0] == {"id": "101", "distance": "324.000000"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"topk": None}, 34),
        ({"params": None}, 34),
        ({"vectors": None}, 34),
        ({"topk": 0}, 10),
        ({"topk": 16385}, 10),
        ({"topk": "3"}, 36),
        ({"params": []}, 36),
        ({"vectors": []}, 11),
        ({"vectors": [[1]]}, 7),
        ({"vectors": [[1, 2, 3, "x"]]}, 36),
        ({"ids": ["x"]}, 12),
        ({"ids": [1.5]}, 36),
        ({"ids": []}, 5),
        ({"file_ids": ["x"]}, 1),
        ({"file_ids": "1"}, 36),
        ({"params": {"metric_type": 3}}, 5),
    ],
)
def test_searches_that_cannot_be(stored: Asking, change: dict[str, Any], code: int) -> None:
    search = {"topk": 1, "params": {}, "vectors": [ROWS[0]], **change}
    assert stored.code("PUT", VECTORS, {"search": search}) == (400, code)


def test_search_parameters_of_an_index(stored: Asking) -> None:
    stored.ask("POST", "/collections/c/indexes", {"index_type": "IVFFLAT", "params": {"nlist": 16}})
    assert stored.code("PUT", VECTORS, {"search": {"topk": 1, "params": {}, "vectors": ROWS}}) == (
        400,
        5,
    )
    assert stored.search(ROWS, 1, params={"nprobe": 16})["num"] == 3


def test_delete(stored: Asking) -> None:
    assert stored.ask("PUT", VECTORS, {"delete": {"ids": ["2", "777"]}, "search": {}}) == (200, OK)
    assert stored.ask("GET", "/collections/c")[1]["count"] == 2
    assert stored.ask("PUT", VECTORS, {"delete": {"ids": ["1"], "partition_tag": "_default"}}) == (
        200,
        OK,
    )
    assert stored.ask("PUT", VECTORS, {"delete": {"ids": []}}) == (200, OK)
    assert stored.ask("GET", "/collections/c")[1]["count"] == 1
    for body, code in [
        ({}, 35),
        ({"query": {}}, 35),
        ({"delete": {}}, 34),
        ({"delete": {"ids": "1"}}, 34),
        ({"delete": {"ids": [1.5]}}, 35),
        ({"delete": {"ids": ["x"]}}, 35),
        ({"delete": {"ids": ["1"], "partition_tag": 1}}, 36),
        ({"delete": {"ids": ["1"], "partition_tag": "none"}}, 1),
        ({"delete": 7}, 35),
    ]:
        assert stored.code("PUT", VECTORS, body) == (400, code), body


def test_binary_rows(rest: Asking) -> None:
    rest.create(dimension=16, metric="HAMMING")
    rest.insert([[0, 255], [1, 2]], ["1", "2"])
    assert rest.ask("GET", f"{VECTORS}?ids=1")[1]["vectors"] == [{"id": "1", "vector": [0, 255]}]
    assert rest.search([[0, 254]], 1)["result"] == [[{"id": "1", "distance": "1.000000"}]]
    for vectors, code in [
        ([[0, 256]], 11),
        ([[0, -1]], 11),
        ([[0, 1.5]], 36),
        ([[1]], 7),
        ([[0, True]], 36),
    ]:
        assert rest.code("POST", VECTORS, {"vectors": vectors, "ids": ["3"]}) == (400, code), (
            vectors
        )


def test_segments(stored: Asking) -> None:
    stored.ask("POST", "/collections/c/partitions", {"partition_tag": "p"})
    stored.insert([[1, 1, 1, 1]], ["7"], partition_tag="p")
    stored.flush()
    status, answer = stored.ask("GET", "/collections/c/segments")
    assert (status, answer["code"], answer["message"], answer["count"]) == (200, 0, "OK", 2)
    shown = [(s["partition_tag"], s["row_count"], s["index_name"]) for s in answer["segments"]]
    assert shown == [("_default", 3, "IDMAP"), ("p", 1, "IDMAP")]
    assert stored.ask("GET", "/collections/c/segments?partition_tag=p")[1]["count"] == 1
    assert (
        stored.ask("GET", "/collections/c/segments?partition_tag=p&all_required=true")[1]["count"]
        == 2
    )
    assert stored.code("GET", "/collections/c/segments?all_required=nonsense") == (400, 37)
    path = f"/collections/c/segments/{answer['segments'][0]['name']}"
    stored.ask("PUT", VECTORS, {"delete": {"ids": ["2"]}})
    ids = ["1", str((1 << 63) - 1)]
    assert stored.ask("GET", f"{path}/ids") == (200, {"ids": ids, "count": 2})
    assert stored.ask("GET", f"{path}/ids?offset=1&page_size=1000000") == (
        200,
        {"ids": ids[1:], "count": 2},
    )
    rows = stored.ask("GET", f"{path}/vectors?page_size=1")
    assert rows == (200, {**OK, "vectors": [{"id": "1", "vector": ROWS[0]}], "count": 2})
    assert stored.ask("GET", f"{path}/vectors?page_size=0") == (
        200,
        {**OK, "vectors": [], "count": 2},
    )
    assert stored.client.get(f"{path}/other").json() is None
    assert stored.code("GET", "/collections/c/segments/1/ids") == (404, 4)
    assert stored.code("GET", f"{path}/ids?offset=x") == (400, 37)


def test_a_page_of_a_segment_over_the_limit(rest: Asking) -> None:
    rest.create()
    rest.insert(np.ones((1001, 4)).tolist())
    rest.flush()
    status, answer = rest.ask(
        "GET", f"/collections/c/segments/{rest.segment()}/vectors?page_size=1001"
    )
    assert (status, answer["code"], answer["vectors"], answer["count"]) == (200, 5, [], 1001)


def npy(array: Any) -> dict[str, Any]:
    file = io.BytesIO()
    np.save(file, array)
    return {"content": file.getvalue(), "headers": {"Content-Type": "application/x-npy"}}


def test_npy(rest: Asking) -> None:
    rest.create()
    rows = np.array(ROWS, np.float32)
    assert rest.ask("POST", f"{VECTORS}?ids=1,2,3", **npy(rows)) == (201, {"ids": ["1", "2", "3"]})
    assert (
        rest.ask(
            "POST", f"{VECTORS}?ids=4,5,6", **npy(np.asfortranarray(rows.astype(np.float64) + 1))
        )[0]
        == 201
    )
    assert rest.ask("GET", f"{VECTORS}?ids=6")[1]["vectors"][0]["vector"] == pytest.approx(
        [1, 1, 2, 1.1]
    )
    found = rest.ask("PUT", f"{VECTORS}?topk=1&params={{}}&partition_tags=_default", **npy(rows))
    assert [row[0]["id"] for row in found[1]["result"]] == ["1", "2", "3"]
    assert rest.code("PUT", VECTORS, **npy(rows)) == (400, 33)
    assert rest.code("PUT", f"{VECTORS}?topk=x", **npy(rows)) == (400, 37)
    for array, code in [
        (rows[0], 11),
        (rows * np.nan, 11),
        (np.tile(rows[:, :3], (1, 1)), 12),
        (rows[:0], 11),
        (rows > 0, 11),
    ]:
        assert rest.code("POST", f"{VECTORS}?ids=1", **npy(array)) == (400, code)
    wrong = {"content": b"\x93NUMPY\x01\x00", "headers": {"Content-Type": "application/x-npy"}}
    assert rest.code("POST", VECTORS, **wrong) == (400, 36)
    assert rest.code("POST", VECTORS, **npy(np.array([[None]]))) == (400, 36)


def test_arrow(rest: Asking) -> None:
    arrow = pytest.importorskip("pyarrow")
    rest.create()

    def stream(**columns: Any) -> dict[str, Any]:
        table, sink = arrow.table(columns), arrow.BufferOutputStream()
        with arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        kind = {"Content-Type": "application/vnd.apache.arrow.stream"}
        return {"content": sink.getvalue().to_pybytes(), "headers": kind}

    fixed = arrow.FixedSizeListArray.from_arrays(arrow.array(np.array(ROWS, np.float32).ravel()), 4)
    ids = arrow.array([1, 2, 3], arrow.int64())
    assert rest.ask("POST", VECTORS, **stream(vector=fixed, id=ids)) == (
        201,
        {"ids": ["1", "2", "3"]},
    )
    found = rest.ask("PUT", f"{VECTORS}?topk=1", **stream(vector=arrow.array(ROWS)))
    assert [row[0]["id"] for row in found[1]["result"]] == ["1", "2", "3"]
    assert rest.code("POST", VECTORS, **stream(id=ids)) == (400, 34)
    assert rest.code("POST", VECTORS, **stream(vector=arrow.array([[1.0], [1.0, 2.0]]))) == (
        400,
        11,
    )
    assert rest.code("POST", VECTORS, **stream(vector=arrow.array([ROWS[0], None]))) == (400, 11)
    assert rest.code("POST", VECTORS, **stream(vector=arrow.array(["x"]))) == (400, 11)
    assert rest.code("POST", VECTORS, **stream(vector=fixed, id=arrow.array(["1", "2", "3"]))) == (
        400,
        12,
    )
    assert rest.code("POST", VECTORS, content=b"x", headers=stream(vector=fixed)["headers"]) == (
        400,
        36,
    )


def test_answers_are_bounded_and_count_for_more_than_they_do_on_the_wire(
    rest: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = replace(rest.database.memory, answers=1 << 20)
    monkeypatch.setattr(rest.database, "memory", memory)
    small = budget(memory.answers)
    rest.create()
    ids = rest.insert([[float(n), 0, 0, 0] for n in range(1_000)])
    asked = [[1.0, 2, 3, 4]] * 30
    assert rest.search(asked[:20], 1_000)["num"] == 20
    by_vector = {"search": {"topk": 1_000, "params": {}, "vectors": asked}}
    assert rest.code("PUT", VECTORS, by_vector) == (400, 24)
    by_id = {"search": {"topk": 1_000, "params": {}, "ids": ids[:30]}}
    assert rest.code("PUT", VECTORS, by_id) == (400, 24)
    assert small.used == 0
    # As many bytes as they are, for they are not told.
    explained = {"topk": 1_000, "params": {}, "vectors": asked * 3}
    assert rest.code("POST", "/collections/c/explain", {"search": explained}) == (400, 24)
    explained["vectors"] = asked * 2
    assert rest.ask("POST", "/collections/c/explain", {"search": explained})[0] == 200
    assert small.used == 0
