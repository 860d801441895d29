"""A recall over REST: searches, explain, the curves, and `milvine tune` of a server."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from milvine.bench.vectors import clustered
from milvine.cli import app
from tests.server.rest.asking import Asking

RECALL = "/collections/c/indexes/recall"


@pytest.fixture
def indexed(rest: Asking) -> Asking:
    rest.create(dimension=8)
    rest.insert(clustered(5000, 10, 8).train.tolist(), [str(each) for each in range(5000)])
    rest.flush()
    body = {"index_type": "IVFFLAT", "params": {"nlist": 32}}
    assert rest.ask("POST", "/collections/c/indexes", body)[0] == 201
    return rest


def test_a_search_asks_for_a_recall(indexed: Asking) -> None:
    queries = clustered(5000, 10, 8).queries.tolist()
    exact = indexed.search(queries, 10, params={"recall": 1})["result"]
    found = indexed.search(queries, 10, params={"recall": 0.9})["result"]
    shares = [
        len({hit["id"] for hit in a} & {hit["id"] for hit in b}) / 10
        for a, b in zip(exact, found, strict=True)
    ]
    assert sum(shares) / 10 > 0.8
    both = {"topk": 1, "params": {"recall": 0.9, "nprobe": 1}, "vectors": queries}
    assert indexed.code("PUT", "/collections/c/vectors", {"search": both})[0] == 400


def test_explain_tells_the_choice_and_only_where_there_is_one(indexed: Asking) -> None:
    search = {"topk": 10, "params": {"recall": 0.9}, "vectors": [[0.0] * 8]}
    _, steps = indexed.ask("POST", "/collections/c/explain", {"search": search})
    (scan,) = steps["scans"]
    assert steps["params"] == {"recall": 0.9} and scan["picked"]["nprobe"] >= 1
    assert set(scan["curve"][0]) == {"value", "recall", "error", "seconds"}
    search["params"] = {"nprobe": 3}
    _, steps = indexed.ask("POST", "/collections/c/explain", {"search": search})
    assert not {"picked", "curve"} & set(steps["scans"][0])


def test_the_curves(indexed: Asking) -> None:
    status, told = indexed.ask("GET", f"{RECALL}?recall=0.9&topk=10")
    assert status == 200 and told["parameter"] == "nprobe"
    (segment,) = told["segments"]
    assert segment["segment"] == indexed.segment() and told["picked"] == segment["picked"]
    assert [curve["k"] for curve in segment["curves"]] == [1, 10, 100]
    assert indexed.ask("GET", RECALL)[1]["recall"] == 0.95
    for query in ("recall=x", "recall=2", "topk=x", "topk=0"):
        assert indexed.code("GET", f"{RECALL}?{query}")[0] == 400
    assert indexed.code("GET", RECALL.replace("/c/", "/d/"))[0] == 404


def test_milvine_tune_of_a_server(indexed: Asking) -> None:
    uri = str(indexed.client.base_url).rstrip("/")
    done = CliRunner().invoke(app, ["tune", "c", "--uri", uri])
    assert done.exit_code == 0 and "recall 0.95 at 10 takes" in done.stdout
    missing = CliRunner().invoke(app, ["tune", "d", "--uri", uri])
    assert missing.exit_code == 1 and "Collection d does not exist" in missing.output
