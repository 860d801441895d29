"""The calls about segments, memory and configuration, and the types of index that `drive.py` leaves
out.

drive_segments.py PORT
"""

from __future__ import annotations

import json
import sys
from typing import Any

from drive import Answers, attempt, rows_of, told

from milvus import IndexType, MetricType, Milvus

NAME, DIMENSION, ROWS = "parts", 16, 4200
TYPES: list[tuple[str, dict[str, int], dict[str, int]]] = [
    ("IVF_SQ8H", {"nlist": 16}, {"nprobe": 16}),
    (
        "RNSG",
        {"search_length": 40, "out_degree": 20, "candidate_pool_size": 50, "knng": 20},
        {"search_length": 50},
    ),
    ("ANNOY", {"n_trees": 8}, {"search_k": -1}),
]
BITS = ("HAMMING", "JACCARD", "TANIMOTO", "SUBSTRUCTURE", "SUPERSTRUCTURE")


def names_of(m: Any, name: str) -> list[str]:
    """Names of the segments of the default partition, the largest first."""
    segments = m.get_collection_stats(name)[1]["partitions"][0]["segments"]
    return [each["name"] for each in sorted(segments, key=lambda each: -each["row_count"])]


def segments(m: Any, answers: Answers) -> None:
    vectors = rows_of(5, ROWS)
    attempt(
        m.create_collection,
        {"collection_name": NAME, "dimension": DIMENSION, "metric_type": MetricType.L2},
    )
    attempt(m.insert, NAME, vectors, list(range(ROWS)))
    attempt(m.flush, [NAME])
    name = names_of(m, NAME)[0]
    status, ids = m.list_id_in_segment(NAME, name)
    answers["ids of the segment"] = [told(status), ids == list(range(ROWS))]
    answers["ids of no segment"] = attempt(m.list_id_in_segment, NAME, "7")
    answers["ids of an illegal segment"] = attempt(m.list_id_in_segment, NAME, "")
    answers["ids, no collection"] = attempt(m.list_id_in_segment, "missing", name)
    answers["in the segment"] = attempt(m.search_in_segment, NAME, [int(name)], vectors[3:5], 2, {})
    answers["in the segment, by text"] = attempt(
        m.search_in_segment, NAME, [name], vectors[3:4], 1, {}
    )
    answers["in no segment"] = attempt(m.search_in_segment, NAME, [7], vectors[:1], 1, {})
    answers["in an illegal segment"] = attempt(m.search_in_segment, NAME, ["x"], vectors[:1], 1, {})
    answers["in the segment, topk 0"] = attempt(
        m.search_in_segment, NAME, [int(name)], vectors[:1], 0, {}
    )
    future = m.search_in_segment(NAME, [int(name)], vectors[3:4], 1, {}, _async=True)
    answers["in the segment, later"] = told(future.result())


def memory(m: Any, answers: Answers) -> None:
    attempt(m.create_partition, NAME, "tag01")
    answers["load"] = attempt(m.load_collection, NAME)
    answers["load missing"] = attempt(m.load_collection, "missing")
    answers["load tag01"] = attempt(m.load_collection, NAME, partition_tags=["tag01"])
    answers["load tag09"] = attempt(m.load_collection, NAME, partition_tags=["tag09"])
    answers["release"] = attempt(lambda: m.release_collection(NAME))
    answers["release missing"] = attempt(lambda: m.release_collection("missing"))
    answers["search afterwards"] = attempt(m.search, NAME, 1, rows_of(5, 1), params={})
    answers["reload"] = attempt(m.reload_segments, NAME, ["1"])
    answers["reload missing"] = attempt(m.reload_segments, "missing", ["1"])


def configuration(m: Any, answers: Answers) -> None:
    answers["get_config"] = attempt(m.get_config, "cache", "insert_buffer_size")
    answers["set_config"] = attempt(m.set_config, "cache", "insert_buffer_size", "2GB")
    answers["get_config again"] = attempt(m.get_config, "cache", "insert_buffer_size")
    answers["get_config of nothing"] = attempt(m.get_config, "cache", "nothing")
    answers["set_config of nothing"] = attempt(m.set_config, "cache", "nothing", 1)
    answers["set_config malformed"] = attempt(m.set_config, "cache", "insert_buffer_size", "many")
    for word in ("mode", "build_commit_id", "tasktable", "requests"):
        answers[word] = attempt(m._cmd, word)
    answers["get_system_info"] = sorted(json.loads(m._cmd("get_system_info")[1]))


def types(m: Any, answers: Answers) -> None:
    """Each type is built, told of, and finds four stored rows."""
    queries = rows_of(5, ROWS)[20:24]
    for name, build, search in TYPES:
        answers[f"build {name}"] = attempt(m.create_index, NAME, getattr(IndexType, name), build)
        answers[f"setting {name}"] = attempt(lambda: m.get_index_info(NAME)[1].params)
        stats = m.get_collection_stats(NAME)[1]["partitions"][0]["segments"]
        answers[f"built {name}"] = sorted({each["index_name"] for each in stats})
        status, hits = m.search(NAME, 3, queries, params=search)
        answers[f"search {name}"] = [told(status), [row[0].id for row in hits]]
        answers[f"drop {name}"] = attempt(m.drop_index, NAME)


def bits(m: Any, answers: Answers) -> None:
    """Each metric of binary vectors: exactly, and with IVF_FLAT where that is built."""
    vectors = [bytes([at % 251 + 1, at // 16 % 256]) for at in range(ROWS)]
    for metric in BITS:
        name = metric.lower()
        param = {
            "collection_name": name,
            "dimension": 16,
            "metric_type": getattr(MetricType, metric),
        }
        answers[f"create {metric}"] = attempt(m.create_collection, param)
        answers[f"insert {metric}"] = attempt(m.insert, name, vectors, list(range(ROWS)))[0]
        attempt(m.flush, [name])
        answers[f"exact {metric}"] = attempt(m.search, name, 3, vectors[100:102], params={})
        answers[f"build {metric}"] = attempt(m.create_index, name, IndexType.IVF_FLAT, {"nlist": 8})
        answers[f"IVF_FLAT {metric}"] = attempt(
            m.search, name, 3, vectors[100:102], params={"nprobe": 8}
        )
        answers[f"HNSW {metric}"] = attempt(
            m.create_index, name, IndexType.HNSW, {"M": 16, "efConstruction": 200}
        )
        attempt(m.drop_collection, name)


def life(m: Any) -> Answers:
    answers: Answers = {}
    for part in (segments, memory, configuration, types, bits):
        part(m, answers)
    answers["close"] = attempt(m.close)
    return answers


if __name__ == "__main__":
    print(json.dumps(life(Milvus(host="127.0.0.1", port=sys.argv[1]))))
