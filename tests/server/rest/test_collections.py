"""Collections, partitions, indexes (specification 4.4 to 4.7)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.rest.asking import OK, Asking

FULL = {"collection_name": "films", "dimension": 16, "index_file_size": 32, "metric_type": "IP"}


def test_the_life_of_a_collection(rest: Asking) -> None:
    assert rest.ask("POST", "/collections", FULL) == (201, OK)
    told = {**FULL, "count": 0, "index": "FLAT", "index_params": "{}"}
    assert rest.ask("GET", "/collections/films") == (200, told)
    assert rest.ask("GET", "/collections") == (200, {"collections": [told], "count": 1})
    assert rest.ask("POST", "/collections", FULL) == (
        400,
        {"message": "Collection already exists", "code": 9},
    )
    rest.insert([[0.5] * 16] * 3, name="films")
    empty = {"partitions": [{"row_count": 3, "segments": None, "tag": "_default"}], "row_count": 3}
    assert rest.ask("GET", "/collections/films?info=stat") == (200, empty)
    rest.flush("films")
    part = rest.ask("GET", "/collections/films?info=stat")[1]["partitions"][0]
    assert part["segments"] == [
        {
            "data_size": 3 * (64 + 8),
            "index_name": "IDMAP",
            "name": rest.segment("films"),
            "row_count": 3,
        }
    ]
    assert rest.ask("DELETE", "/collections/films") == (204, None)
    assert rest.code("GET", "/collections/films") == (404, 4)


def test_defaults_of_a_collection(rest: Asking) -> None:
    assert rest.ask("POST", "/collections", {"collection_name": "c", "dimension": 4}) == (201, OK)
    found = rest.ask("GET", "/collections/c")[1]
    assert (found["index_file_size"], found["metric_type"]) == (1024, "L2")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"collection_name": "9"}, 9),
        ({"collection_name": ""}, 9),
        ({"dimension": 0}, 7),
        ({"dimension": 32769}, 7),
        ({"metric_type": "l2"}, 23),
        ({"metric_type": "COSINE"}, 23),
        ({"index_file_size": 0}, 5),
        ({"index_file_size": 4097}, 5),
        ({"dimension": 12, "metric_type": "HAMMING"}, 7),
        ({"dimension": None}, 34),
        ({"collection_name": None}, 34),
        ({"dimension": "16"}, 36),
        ({"dimension": 1.5}, 36),
        ({"unknown": 1}, 35),
    ],
)
def test_collections_that_cannot_be(rest: Asking, change: dict[str, Any], code: int) -> None:
    assert rest.code("POST", "/collections", {**FULL, **change}) == (400, code)
    assert rest.ask("GET", "/collections")[1]["count"] == 0


@pytest.mark.parametrize(
    ("body", "code"), [(b"", 34), (b"{", 36), (b"[]", 35), (b"{}", 34), (b"\xff", 36)]
)
@pytest.mark.parametrize(
    "path", ["/collections", "/collections/c/indexes", "/collections/c/partitions"]
)
def test_bodies_that_are_none(rest: Asking, path: str, body: bytes, code: int) -> None:
    rest.create()
    assert rest.code("POST", path, content=body) == (400, code)


def test_pages(rest: Asking) -> None:
    for number in range(12):
        rest.create(f"c{number}")

    def names(query: str) -> list[str]:
        status, answer = rest.ask("GET", f"/collections?{query}")
        assert (status, answer["count"]) == (200, 12)
        return [each["collection_name"] for each in answer["collections"]]

    everything = [f"c{number}" for number in range(12)]
    assert names("") == names("offset=&page_size=") == everything[:10]
    assert names("offset=10") == names("offset=10&page_size=100") == everything[10:]
    assert names("page_size=0") == names("offset=99") == names(f"offset={(1 << 63) - 1}") == []
    assert names("all_required=true&offset=3") == names("all_required=True") == everything
    assert len(names("all_required=yes")) == len(names("all_required=nonsense")) == 10
    for query in ("offset=-1", "page_size=x", "offset=1.5", f"page_size={1 << 63}"):
        status, answer = rest.ask("GET", f"/collections?{query}")
        assert (status, answer["code"]) == (400, 37) and "offset" in answer["message"]


def test_partitions(rest: Asking) -> None:
    rest.create()
    path = "/collections/c/partitions"
    for tag in ("a", " b "):
        assert rest.ask("POST", path, {"partition_tag": tag}) == (201, OK)
    tags = [{"partition_tag": tag} for tag in ("_default", "a", "b")]
    assert rest.ask("GET", path) == (200, {"partitions": tags, "count": 3})
    assert rest.ask("GET", f"{path}?offset=1&page_size=1") == (
        200,
        {"partitions": tags[1:2], "count": 3},
    )
    assert rest.code("GET", f"{path}?all_required=nonsense") == (400, 37)
    for tag in ("a", "_default", " "):
        assert rest.code("POST", path, {"partition_tag": tag}) == (400, 1)
    assert rest.code("POST", path, {"partition_tag": 1}) == (400, 36)
    assert rest.code("POST", path, {"partition_tag": "x", "more": 1}) == (400, 35)
    assert rest.ask("DELETE", path, {"partition_tag": "a"}) == (204, None)
    assert rest.code("DELETE", path, {"partition_tag": "a"}) == (400, 1)
    assert rest.code("DELETE", path, {"partition_tag": "_default"}) == (400, 9)
    assert rest.code("DELETE", path, content=b"{") == (400, 36)


def test_indexes(rest: Asking) -> None:
    rest.create(dimension=16)
    path = "/collections/c/indexes"
    assert rest.ask("GET", path) == (200, {"index_type": "FLAT", "params": {}})
    for kind, params in [
        ("IVFFLAT", {"nlist": 16}),
        ("IVFSQ8", {"nlist": 16}),
        ("IVFPQ", {"nlist": 16, "m": 4}),
        ("RNSG", {"search_length": 45, "out_degree": 50, "candidate_pool_size": 300, "knng": 100}),
        ("HNSW", {"M": 16, "efConstruction": 100}),
        ("IVFPQFS", {"nlist": 16}),
        ("IVFRABITQ", {"nlist": 16}),
        ("HNSWSQ8", {"M": 16, "efConstruction": 100}),
        ("ANNOY", {"n_trees": 8}),
    ]:
        assert rest.ask("POST", path, {"index_type": kind, "params": params}) == (201, OK)
        assert rest.ask("GET", path) == (200, {"index_type": kind, "params": params})
    described = rest.ask("GET", "/collections/c")[1]
    assert (described["index"], described["index_params"]) == ("ANNOY", '{"n_trees":8}')
    assert rest.ask("DELETE", path) == rest.ask("DELETE", path) == (204, None)
    assert rest.ask("GET", path) == (200, {"index_type": "FLAT", "params": {}})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"params": {}}, 34),
        ({"index_type": "FLAT"}, 34),
        ({"index_type": "IVF_FLAT", "params": {}}, 8),
        ({"index_type": 1, "params": {}}, 36),
        ({"index_type": "IVFFLAT", "params": {}}, 5),
        ({"index_type": "IVFFLAT", "params": {"nlist": 0}}, 5),
        ({"index_type": "IVFPQ", "params": {"nlist": 8, "m": 3}}, 7),
        ({"index_type": "HNSW", "params": {"M": 3, "efConstruction": 100}}, 5),
        ({"index_type": "HNSW", "params": "M"}, 36),
    ],
)
def test_indexes_that_cannot_be(rest: Asking, body: dict[str, Any], code: int) -> None:
    rest.create()
    assert rest.code("POST", "/collections/c/indexes", body) == (400, code)


def test_binary_collections_take_two_types_of_index(rest: Asking) -> None:
    rest.create(metric="JACCARD", dimension=16)
    hnsw = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 100}}
    assert rest.code("POST", "/collections/c/indexes", hnsw) == (400, 8)
    assert rest.ask(
        "POST", "/collections/c/indexes", {"index_type": "IVFFLAT", "params": {"nlist": 8}}
    ) == (201, OK)
