"""Drives `from milvus import Milvus` over its HTTP handler and prints what every call returned, as
JSON.

Runs by itself, in an environment that has pymilvus 1.1.2:

    drive_http.py PORT
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from milvus import IndexType, MetricType, Milvus, Status

NAME, DIMENSION = "over_http", 16


def told(value: Any) -> Any:
    if isinstance(value, Status):
        return [getattr(value.code, "name", value.code), value.message]
    if isinstance(value, (list, tuple)):
        return [told(part) for part in value]
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, (str, int, float, dict)):
        return value
    if type(value).__name__.startswith("TopK"):
        return [[[hit.id, round(hit.distance, 4)] for hit in row] for row in value]
    return repr(value)


def life(m: Any) -> dict[str, Any]:
    numbers = random.Random(1)
    rows = [[numbers.random() for _ in range(DIMENSION)] for _ in range(300)]
    param = {
        "collection_name": NAME,
        "dimension": DIMENSION,
        "index_file_size": 32,
        "metric_type": MetricType.L2,
    }
    bits = {"collection_name": "bits", "dimension": 16, "metric_type": MetricType.HAMMING}
    answers: dict[str, Any] = {}

    def do(label: str, call: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = call(*args, **kwargs)
        except Exception as error:
            result = ["raised", type(error).__name__, str(error)]
        answers[label] = told(result)
        return result

    do("version", m.server_version)
    do("status", m.server_status)
    do("create", m.create_collection, param)
    do("create again", m.create_collection, param)
    do("has", m.has_collection, NAME)
    do("has none", m.has_collection, "none")
    do("info", m.get_collection_info, NAME)
    do("list", m.list_collections)
    do("create partition", m.create_partition, NAME, "p")
    do("partitions", m.list_partitions, NAME)
    do("has partition", m.has_partition, NAME, "p")
    do("insert", m.insert, NAME, rows, list(range(300)))
    do("insert into p", m.insert, NAME, rows[:2], [1000, 1001], "p")
    do("flush", m.flush, [NAME])
    do("count", m.count_entities, NAME)
    stats = m.get_collection_stats(NAME)
    answers["stats"] = [
        told(stats[0]),
        stats[1]["row_count"],
        [part["tag"] for part in stats[1]["partitions"]],
    ]
    segment = stats[1]["partitions"][1]["segments"][0]["name"]
    do("ids in segment", m.list_id_in_segment, NAME, segment)
    do("search in segment", m.search_in_segment, NAME, [segment], rows[:1], 1, params={"nprobe": 1})
    status, found = m.get_entity_by_id(NAME, [7, 999])
    answers["get"] = [told(status), [[round(number, 5) for number in vector] for vector in found]]
    answers["got what was stored"] = answers["get"][1] == [
        [round(number, 5) for number in rows[7]],
        [],
    ]
    do("index", m.create_index, NAME, IndexType.IVF_FLAT, {"nlist": 16})
    do("index info", m.get_index_info, NAME)
    do("index that cannot be", m.create_index, NAME, IndexType.IVF_FLAT, {"nlist": 0})
    do("search", m.search, NAME, 2, rows[5:7], params={"nprobe": 16})
    do("search p", m.search, NAME, 9, rows[:1], ["p"], {"nprobe": 16})
    do("search none", m.search, NAME, 1, rows[:1], ["nowhere"], {"nprobe": 16})
    do("drop index", m.drop_index, NAME)
    do("load", m.load_collection, NAME)
    do("release", m.release_collection, NAME)
    do("delete", m.delete_entity_by_id, NAME, [5, 999])
    do("compact", m.compact, NAME)
    do("count after delete", m.count_entities, NAME)
    do("drop partition", m.drop_partition, NAME, "p")
    do("get config", m.get_config, "cache", "insert_buffer_size")
    do("set config", m.set_config, "cache", "insert_buffer_size", "2GB")
    do("got config", m.get_config, "cache", "insert_buffer_size")
    do("create binary", m.create_collection, bits)
    do("insert binary", m.insert, "bits", [b"\x00\xff", b"\x01\x00"], [1, 2])
    do("get binary", m.get_entity_by_id, "bits", [1])
    do("search binary", m.search, "bits", 1, [b"\x00\xff"], params={})
    do("no such collection", m.count_entities, "none")
    do("drop", m.drop_collection, NAME)
    do("drop again", m.drop_collection, NAME)
    return answers


if __name__ == "__main__":
    print(json.dumps(life(Milvus(host="127.0.0.1", port=sys.argv[1], handler="HTTP"))))
