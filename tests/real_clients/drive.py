"""Drives `from milvus import Milvus` through its paces and prints what every call returned, as
JSON.

Runs by itself, in whatever environment has a `milvus` package: pymilvus 1.1.2, 0.2.14 or Milvine's
own client.

    drive.py life PORT          create, index, insert, search, delete, ..., drop
    drive.py page PORT < JSON   a list of lines, typed one after another
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from milvus import IndexType, MetricType, Milvus, Status

NAME, DIMENSION, ROWS = "life", 16, 4500
INDEXES: list[tuple[str, dict[str, int], dict[str, int]]] = [
    ("FLAT", {}, {}),
    ("IVF_FLAT", {"nlist": 64}, {"nprobe": 64}),
    ("IVF_SQ8", {"nlist": 64}, {"nprobe": 64}),
    ("IVF_PQ", {"nlist": 64, "m": 8}, {"nprobe": 64}),
    ("HNSW", {"M": 16, "efConstruction": 200}, {"ef": 200}),
]

Answers = dict[str, Any]


def told(value: Any) -> Any:
    """A returned value as JSON: a Status as [code, message], an answer to a search as a dict."""
    if isinstance(value, Status):
        return [getattr(value.code, "name", value.code), value.message]
    if isinstance(value, (list, tuple)):
        return [told(part) for part in value]
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, (str, int, float, dict)):
        return value
    if hasattr(value, "id_array"):
        rows = [[(hit.id, round(hit.distance, 4)) for hit in row] for row in value]
        lengths = [len(row) for row in value]
        shown = " ".join(repr(value).split())
        return {
            "shape": list(value.shape),
            "rows": rows,
            "ids": value.id_array,
            "lengths": lengths,
            "repr": shown,
        }
    return repr(value)


def attempt(call: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return told(call(*args, **kwargs))
    except Exception as error:
        return ["raised", type(error).__name__, str(error)]


def rows_of(seed: int, count: int) -> list[list[float]]:
    numbers = random.Random(seed)
    return [[numbers.random() for _ in range(DIMENSION)] for _ in range(count)]


def collections(m: Any, answers: Answers) -> None:
    param = {
        "collection_name": NAME,
        "dimension": DIMENSION,
        "index_file_size": 32,
        "metric_type": MetricType.L2,
    }
    answers["no collection yet"] = attempt(m.has_collection, NAME)
    answers["create"] = attempt(m.create_collection, param)
    answers["create again"] = attempt(m.create_collection, param)
    answers["has"] = attempt(m.has_collection, NAME)
    answers["list"] = attempt(m.list_collections)
    answers["info"] = attempt(m.get_collection_info, NAME)
    answers["empty stats"] = attempt(m.get_collection_stats, NAME)
    answers["empty count"] = attempt(m.count_entities, NAME)
    answers["empty search"] = attempt(m.search, NAME, 3, rows_of(1, 2), params={})
    answers["empty get"] = attempt(m.get_entity_by_id, NAME, [1])


def partitions(m: Any, answers: Answers) -> None:
    for tag in ("tag01", "tag02"):
        answers[f"create {tag}"] = attempt(m.create_partition, NAME, tag)
    answers["create tag01 again"] = attempt(m.create_partition, NAME, "tag01")
    answers["create _default"] = attempt(m.create_partition, NAME, "_default")
    answers["has tag01"] = attempt(m.has_partition, NAME, "tag01")
    answers["has tag09"] = attempt(m.has_partition, NAME, "tag09")
    answers["partitions"] = attempt(m.list_partitions, NAME)
    answers["drop tag02"] = attempt(m.drop_partition, NAME, "tag02")
    answers["drop tag02 again"] = attempt(m.drop_partition, NAME, "tag02")
    answers["drop _default"] = attempt(m.drop_partition, NAME, "_default")


def rows(m: Any, answers: Answers) -> None:
    vectors = rows_of(2, ROWS)
    answers["insert"] = attempt(m.insert, NAME, vectors, list(range(ROWS)))[0]
    answers["insert into tag01"] = attempt(
        m.insert, NAME, rows_of(3, 50), list(range(ROWS, ROWS + 50)), "tag01"
    )
    answers["insert without ids"] = attempt(m.insert, NAME, vectors[:2])
    answers["insert another width"] = attempt(m.insert, NAME, [[1.0, 2.0]], [1])
    answers["insert into tag09"] = attempt(m.insert, NAME, vectors[:1], [1], "tag09")
    answers["flush"] = attempt(m.flush, [NAME])
    answers["count"] = attempt(m.count_entities, NAME)
    answers["stats"] = stats(m)
    status, found = m.get_entity_by_id(NAME, [7, 999_999, 7, ROWS + 1])
    answers["get"] = [told(status), [[round(number, 5) for number in vector] for vector in found]]
    answers["get from tag01"] = attempt(m.get_entity_by_id, NAME, [7], partition_tag="tag01")
    wanted = [
        [round(number, 5) for number in vectors[7]],
        [],
        [round(number, 5) for number in vectors[7]],
    ]
    answers["got what was stored"] = answers["get"][1][:3] == wanted


def stats(m: Any) -> Any:
    """Statistics without what depends on the moment: segments, their names and sizes."""
    status, value = m.get_collection_stats(NAME)
    return [
        told(status),
        value["row_count"],
        [(part["tag"], part["row_count"]) for part in value["partitions"]],
    ]


def built(m: Any) -> list[str]:
    """Names of the indexes of segments large enough to have one."""
    parts = m.get_collection_stats(NAME)[1]["partitions"]
    segments = [segment for part in parts for segment in part["segments"] or []]
    return sorted({segment["index_name"] for segment in segments if segment["row_count"] >= 4096})


def indexes(m: Any, answers: Answers) -> None:
    queries = rows_of(2, ROWS)[10:13]
    for name, build, search in INDEXES:
        answers[f"build {name}"] = attempt(m.create_index, NAME, getattr(IndexType, name), build)
        answers[f"setting {name}"] = attempt(m.get_index_info, NAME)
        answers[f"built {name}"] = built(m)
        answers[f"search {name}"] = attempt(m.search, NAME, 5, queries, params=search)
    answers["search without ef"] = attempt(m.search, NAME, 5, queries, params={})
    answers["search with ef below topk"] = attempt(m.search, NAME, 50, queries, params={"ef": 10})
    answers["nlist 0"] = attempt(m.create_index, NAME, IndexType.IVF_FLAT, {"nlist": 0})
    answers["nlist missing"] = attempt(m.create_index, NAME, IndexType.IVF_FLAT, {})
    answers["m that does not divide"] = attempt(
        m.create_index, NAME, IndexType.IVF_PQ, {"nlist": 64, "m": 7}
    )
    answers["SQ8H"] = attempt(m.create_index, NAME, IndexType.IVF_SQ8H, {"nlist": 64})
    answers["drop index"] = attempt(m.drop_index, NAME)
    answers["setting after drop"] = attempt(m.get_index_info, NAME)


def searches(m: Any, answers: Answers) -> None:
    queries = rows_of(3, 2)
    answers["search all"] = attempt(m.search, NAME, 3, queries, params={"nprobe": 16})
    answers["search tag01"] = attempt(
        m.search,
        collection_name=NAME,
        query_records=queries,
        top_k=3,
        partition_tags=["tag01"],
        params={},
    )
    answers["search by pattern"] = attempt(m.search, NAME, 1, queries, ["tag0.", "nothing"], {})
    answers["search more than there is"] = attempt(m.search, NAME, 60, queries[:1], ["tag01"], {})
    answers["search tag09"] = attempt(m.search, NAME, 3, queries, ["tag09"], {})
    answers["topk 0"] = attempt(m.search, NAME, 0, queries, params={})
    answers["topk 16385"] = attempt(m.search, NAME, 16385, queries, params={})
    answers["search another width"] = attempt(m.search, NAME, 1, [[1.0]], params={})


def deletes(m: Any, answers: Answers) -> None:
    query = rows_of(2, ROWS)[10:11]
    answers["delete"] = attempt(m.delete_entity_by_id, NAME, [10, 11, 999_999])
    answers["flush deletes"] = attempt(m.flush)
    answers["count after delete"] = attempt(m.count_entities, NAME)
    answers["get deleted"] = attempt(m.get_entity_by_id, NAME, [10, 11])
    answers["search deleted"] = attempt(m.search, NAME, 1, query, params={})[1]["ids"] != [[10]]
    answers["compact"] = attempt(m.compact, NAME, timeout=30)
    answers["stats after compact"] = stats(m)
    answers["insert anew"] = attempt(m.insert, NAME, query, [10])
    answers["flush anew"] = attempt(m.flush, [NAME])
    answers["search anew"] = attempt(m.search, NAME, 1, query, params={})[1]["ids"]


def generated_ids(m: Any, answers: Answers) -> None:
    name = "generated"
    answers["create generated"] = attempt(
        m.create_collection, {"collection_name": name, "dimension": DIMENSION}
    )
    status, ids = m.insert(name, rows_of(4, 30))
    answers["generated"] = [told(status), len(ids), ids == sorted(set(ids)), min(ids) > 1 << 59]
    answers["given after generated"] = attempt(m.insert, name, rows_of(4, 1), [1])
    answers["flush generated"] = attempt(m.flush, [name])
    answers["find generated"] = m.search(name, 1, rows_of(4, 30), params={})[1].id_array == [
        [id] for id in ids
    ]
    answers["drop generated"] = attempt(m.drop_collection, name)


def binary(m: Any, answers: Answers) -> None:
    name, rows = "bits", [bytes([at % 256, at // 256]) for at in range(300)]
    param = {"collection_name": name, "dimension": 16, "metric_type": MetricType.JACCARD}
    answers["create binary"] = attempt(m.create_collection, param)
    answers["binary info"] = attempt(m.get_collection_info, name)
    answers["insert binary"] = attempt(m.insert, name, rows, list(range(300)))[0]
    answers["insert floats into binary"] = attempt(m.insert, name, [[1.0] * 16], [1])
    answers["flush binary"] = attempt(m.flush, [name])
    answers["get binary"] = attempt(m.get_entity_by_id, name, [258, 999])
    answers["search binary"] = attempt(m.search, name, 3, [b"\x07\x00", b"\xff\x01"], params={})
    answers["search binary for floats"] = attempt(m.search, name, 3, [[1.0, 2.0]], params={})
    answers["binary IVF_FLAT"] = attempt(m.create_index, name, IndexType.IVF_FLAT, {"nlist": 16})
    answers["binary HNSW"] = attempt(
        m.create_index, name, IndexType.HNSW, {"M": 16, "efConstruction": 200}
    )
    answers["delete binary"] = attempt(m.delete_entity_by_id, name, [7])
    answers["drop binary"] = attempt(m.drop_collection, name)
    odd = {"collection_name": name, "dimension": 12, "metric_type": MetricType.HAMMING}
    answers["binary dimension 12"] = attempt(m.create_collection, odd)


def errors(m: Any, answers: Answers) -> None:
    name = "missing"
    for label, call, args in [
        ("describe", m.get_collection_info, ()),
        ("count", m.count_entities, ()),
        ("stats", m.get_collection_stats, ()),
        ("drop", m.drop_collection, ()),
        ("insert", m.insert, ([[1.0]],)),
        ("get", m.get_entity_by_id, ([1],)),
        ("delete", m.delete_entity_by_id, ([1],)),
        ("search", m.search, (1, [[1.0]])),
        ("index", m.create_index, (IndexType.FLAT, {})),
        ("index setting", m.get_index_info, ()),
        ("drop index", m.drop_index, ()),
        ("partition", m.create_partition, ("t",)),
        ("partitions", m.list_partitions, ()),
        ("has partition", m.has_partition, ("t",)),
        ("drop partition", m.drop_partition, ("t",)),
        ("compact", m.compact, ()),
    ]:
        answers[f"{label} of missing"] = attempt(call, name, *args)
    answers["flush of missing"] = attempt(m.flush, [name])
    for label, change in [("0", 0), ("32769", 32769)]:
        answers[f"dimension {label}"] = attempt(
            m.create_collection, {"collection_name": "bad", "dimension": change}
        )
    answers["illegal name"] = attempt(
        m.create_collection, {"collection_name": "9bad", "dimension": 4}
    )
    tiny = {"collection_name": "bad", "dimension": 4, "index_file_size": 0}
    answers["illegal file size"] = attempt(m.create_collection, tiny)
    answers["no dimension"] = attempt(m.create_collection, {"collection_name": "bad"})
    answers["no vectors"] = attempt(m.insert, NAME, [])
    answers["ragged vectors"] = attempt(m.insert, NAME, [[1.0], [1.0, 2.0]])
    answers["ids of another length"] = attempt(m.insert, NAME, [[1.0]], [1, 2])
    answers["topk is no int"] = attempt(m.search, NAME, "3", [[1.0]], params={})
    answers["no collection name"] = attempt(m.count_entities, "")


def life(m: Any) -> Answers:
    answers: Answers = {"version": attempt(m.server_version), "status": attempt(m.server_status)}
    answers["command"] = attempt(m._cmd, "no such command")
    for part in (
        collections,
        partitions,
        rows,
        indexes,
        searches,
        deletes,
        generated_ids,
        binary,
        errors,
    ):
        part(m, answers)
    answers["drop"] = attempt(m.drop_collection, NAME)
    answers["gone"] = attempt(m.has_collection, NAME)
    answers["close"] = attempt(m.close)
    try:
        m.list_collections()
    except AttributeError:
        answers["closed"] = "AttributeError"
    return answers


def page(port: int, lines: list[str]) -> list[Any]:
    """What each line returned; None for assignments."""
    names: dict[str, Any] = {}
    returned = []
    for line in lines:
        code = line.replace("19530", str(port))
        try:
            returned.append(told(eval(code, names)))
        except SyntaxError:
            exec(code, names)
            returned.append(None)
    return returned


if __name__ == "__main__":
    what, where = sys.argv[1], int(sys.argv[2])
    if what == "life":
        print(json.dumps(life(Milvus(host="127.0.0.1", port=str(where)))))
    else:
        print(json.dumps(page(where, json.load(sys.stdin))))
