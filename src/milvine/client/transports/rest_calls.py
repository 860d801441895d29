"""Rpcs as requests of the RESTful API, and its answers as replies. Names and codes are those of the
specification.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np

from milvine.limits import FILLER_DISTANCE, FILLER_ID
from milvine.types import IndexType, MetricType
from milvine.wire import packed, schema
from milvine.wire.status import set_status

Ask = Callable[..., tuple[int, Any]]
"""`ask(verb, path, body=None, headers=None)` is status and JSON."""

_INDEX_NAMES = {name.replace("_", ""): kind for name, kind in IndexType.__members__.items()}
"""As the API spells them."""
_OF_INDEX = {int(kind): kind.name.replace("_", "") for kind in IndexType if kind}
_OF_METRIC = {int(metric): metric.name for metric in MetricType}
_SEGMENT_PAGE = 1_000_000


class Refused(Exception):
    """The server answered with a status that is no success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


def _accepted(answer: tuple[int, Any]) -> Any:
    """The JSON of a success."""
    status, value = answer
    if status < 300:
        return value
    body = value if isinstance(value, dict) else {}
    raise Refused(int(body.get("code", 1)), str(body.get("message", f"HTTP status {status}")))


def _path(name: str, rest: str = "") -> str:
    return f"/collections/{quote(name, safe='')}{rest}"


def _done(reply: Any) -> bytes:
    return bytes(set_status(reply).SerializeToString())


def _parsed(rpc: str, request: bytes) -> Any:
    return packed.parse(schema.METHODS[rpc][0], request)


def _params(pairs: Any) -> Any:
    return next((json.loads(pair.value) for pair in reversed(pairs) if pair.key == "params"), {})


def _cmd(ask: Ask, request: bytes) -> bytes:
    words = str(_parsed("Cmd", request).cmd)
    verb, _, rest = words.partition(" ")
    if verb == "get_config":
        text = _get_config(_accepted(ask("GET", "/system/config")), rest)
    elif verb == "set_config":
        name, _, value = rest.partition(" ")
        section, _, item = name.partition(".")
        text = str(_accepted(ask("PUT", "/system/config", {section: {item: value}}))["message"])
    else:
        text = str(_accepted(ask("GET", f"/system/{quote(words, safe='')}"))["reply"])
    return _done(schema.StringReply(string_reply=text))


def _get_config(tree: dict[str, Any], name: str) -> str:
    if name == "*":
        return json.dumps(tree)
    section, _, item = name.partition(".")
    found = tree.get(section)
    if not isinstance(found, dict) or item not in found:
        raise Refused(1, f"Config {name} not supported")
    return str(found[item])


def _create_collection(ask: Ask, request: bytes) -> bytes:
    wanted = _parsed("CreateCollection", request)
    body = {
        "collection_name": wanted.collection_name,
        "dimension": wanted.dimension,
        "index_file_size": wanted.index_file_size,
        "metric_type": _OF_METRIC.get(wanted.metric_type, str(wanted.metric_type)),
    }
    _accepted(ask("POST", "/collections", body))
    return _done(schema.Status())


def _has_collection(ask: Ask, request: bytes) -> bytes:
    answer = ask("GET", _path(_parsed("HasCollection", request).collection_name))
    if answer[0] != 404:
        _accepted(answer)
    return _done(schema.BoolReply(bool_reply=answer[0] == 200))


def _describe_collection(ask: Ask, request: bytes) -> bytes:
    answer = _accepted(ask("GET", _path(_parsed("DescribeCollection", request).collection_name)))
    reply = schema.CollectionSchema(
        collection_name=answer["collection_name"],
        dimension=answer["dimension"],
        index_file_size=answer["index_file_size"],
        metric_type=int(MetricType[answer["metric_type"]]),
    )
    return _done(reply)


def _count_collection(ask: Ask, request: bytes) -> bytes:
    answer = _accepted(ask("GET", _path(_parsed("CountCollection", request).collection_name)))
    return _done(schema.CollectionRowCount(collection_row_count=answer["count"]))


def _show_collections(ask: Ask, request: bytes) -> bytes:
    answer = _accepted(ask("GET", "/collections?all_required=true"))
    return _done(
        schema.CollectionNameList(
            collection_names=[each["collection_name"] for each in answer["collections"]]
        )
    )


def _show_collection_info(ask: Ask, request: bytes) -> bytes:
    answer = _accepted(
        ask("GET", _path(_parsed("ShowCollectionInfo", request).collection_name, "?info=stat"))
    )
    return _done(schema.CollectionInfo(json_info=json.dumps(answer, ensure_ascii=False)))


def _drop(rpc: str, below: str) -> Callable[[Ask, bytes], bytes]:
    def drop(ask: Ask, request: bytes) -> bytes:
        _accepted(ask("DELETE", _path(_parsed(rpc, request).collection_name, below)))
        return _done(schema.Status())

    return drop


def _create_index(ask: Ask, request: bytes) -> bytes:
    wanted = _parsed("CreateIndex", request)
    name = _OF_INDEX.get(wanted.index_type, str(wanted.index_type))
    body = {"index_type": name, "params": _params(wanted.extra_params)}
    _accepted(ask("POST", _path(wanted.collection_name, "/indexes"), body))
    return _done(schema.Status())


def _describe_index(ask: Ask, request: bytes) -> bytes:
    name = _parsed("DescribeIndex", request).collection_name
    answer = _accepted(ask("GET", _path(name, "/indexes")))
    pair = schema.KeyValuePair(key="params", value=json.dumps(answer["params"]))
    kind_by_name = _INDEX_NAMES.get(answer["index_type"], IndexType.INVALID)
    kind = int(answer.get("index_number", kind_by_name))
    return _done(schema.IndexParam(collection_name=name, index_type=kind, extra_params=[pair]))


def _tags(ask: Ask, name: str) -> list[str]:
    answer = _accepted(ask("GET", _path(name, "/partitions?all_required=true")))
    return [str(each["partition_tag"]) for each in answer["partitions"]]


def _partition(rpc: str, verb: str) -> Callable[[Ask, bytes], bytes]:
    def act(ask: Ask, request: bytes) -> bytes:
        wanted = _parsed(rpc, request)
        _accepted(
            ask(verb, _path(wanted.collection_name, "/partitions"), {"partition_tag": wanted.tag})
        )
        return _done(schema.Status())

    return act


def _has_partition(ask: Ask, request: bytes) -> bytes:
    wanted = _parsed("HasPartition", request)
    return _done(
        schema.BoolReply(bool_reply=wanted.tag.strip() in _tags(ask, wanted.collection_name))
    )


def _show_partitions(ask: Ask, request: bytes) -> bytes:
    tags = _tags(ask, _parsed("ShowPartitions", request).collection_name)
    return _done(schema.PartitionList(partition_tag_array=tags))


def _lists(rows: packed.Rows) -> list[Any]:
    if rows.vectors is None and rows.elements:
        raise Refused(11, "The vectors have different lengths")
    return [] if rows.vectors is None else list(rows.vectors.tolist())


def _insert(ask: Ask, request: bytes) -> bytes:
    wanted = packed.decode_insert(request)
    body: dict[str, Any] = {"vectors": _lists(wanted.rows)}
    if len(wanted.ids):
        body["ids"] = list(map(str, wanted.ids.tolist()))
    if wanted.tag:
        body["partition_tag"] = wanted.tag
    headers = {"Idempotency-Key": quote(wanted.key)} if wanted.key else {}
    answer = _accepted(ask("POST", _path(wanted.collection, "/vectors"), body, headers))
    return packed.encode_ids(np.array(list(map(int, answer["ids"])), np.int64))


def _found(ask: Ask, name: str, search: dict[str, Any]) -> bytes:
    answer = _accepted(ask("PUT", _path(name, "/vectors"), {"search": search}))
    rows = answer["result"] or []
    width = max(map(len, rows), default=0)
    ids = np.full((len(rows), width), FILLER_ID, np.int64)
    distances = np.full((len(rows), width), FILLER_DISTANCE, np.float32)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = [int(hit["id"]) for hit in row]
        distances[at, : len(row)] = [float(hit["distance"]) for hit in row]
    return packed.encode_hits(ids, distances)


def _search_of(wanted: packed.SearchRequest) -> dict[str, Any]:
    params = json.loads(wanted.params) if wanted.params else {}
    search = {"topk": wanted.topk, "params": params, "vectors": _lists(wanted.rows)}
    return {**search, "partition_tags": list(wanted.tags)} if wanted.tags else search


def _search(ask: Ask, request: bytes) -> bytes:
    wanted = packed.decode_search(request)
    return _found(ask, wanted.collection, _search_of(wanted))


def _search_in_files(ask: Ask, request: bytes) -> bytes:
    wanted = packed.decode_search_in_files(request)
    return _found(
        ask, wanted.search.collection, {**_search_of(wanted.search), "file_ids": list(wanted.files)}
    )


def _get_vectors(ask: Ask, request: bytes) -> bytes:
    wanted = packed.decode_ids_request(request)
    about = _accepted(ask("GET", _path(wanted.collection)))
    metric = MetricType[about["metric_type"]]
    tag = f"&partition_tag={quote(wanted.tag, safe='')}" if wanted.tag else ""
    ids = ",".join(map(str, wanted.ids.tolist()))
    entries = _accepted(ask("GET", _path(wanted.collection, f"/vectors?ids={ids}{tag}")))["vectors"]
    found = np.array([bool(each["vector"]) for each in entries], bool)
    vectors = np.zeros((len(entries), metric.width(about["dimension"])), metric.dtype)
    for row, each in zip(vectors, entries, strict=True):
        if each["vector"]:
            row[:] = each["vector"]
    return packed.encode_vectors(found, vectors)


def _get_vector_ids(ask: Ask, request: bytes) -> bytes:
    wanted = _parsed("GetVectorIDs", request)
    ids: list[int] = []
    while True:
        segment = f"/segments/{quote(wanted.segment_name, safe='')}"
        page = f"{segment}/ids?offset={len(ids)}&page_size={_SEGMENT_PAGE}"
        answer = _accepted(ask("GET", _path(wanted.collection_name, page)))
        ids += map(int, answer["ids"])
        if not answer["ids"] or len(ids) >= answer["count"]:
            return packed.encode_ids(np.array(ids, np.int64))


def _delete(ask: Ask, request: bytes) -> bytes:
    wanted = packed.decode_ids_request(request)
    body: dict[str, Any] = {"ids": list(map(str, wanted.ids.tolist()))}
    if wanted.tag:
        body["partition_tag"] = wanted.tag
    _accepted(ask("PUT", _path(wanted.collection, "/vectors"), {"delete": body}))
    return _done(schema.Status())


def _task(rpc: str, kind: str) -> Callable[[Ask, bytes], bytes]:
    def run(ask: Ask, request: bytes) -> bytes:
        wanted = _parsed(rpc, request)
        if kind == "flush":
            body: dict[str, Any] = {"collection_names": list(wanted.collection_name_array)}
        else:
            body = {"collection_name": wanted.collection_name}
        if kind in ("load", "release") and wanted.partition_tag_array:
            body["partition_tags"] = list(wanted.partition_tag_array)
        _accepted(ask("PUT", "/system/task", {kind: body}))
        return _done(schema.Status())

    return run


CALLS: dict[str, Callable[[Ask, bytes], bytes]] = {
    "Cmd": _cmd,
    "CreateCollection": _create_collection,
    "HasCollection": _has_collection,
    "DescribeCollection": _describe_collection,
    "CountCollection": _count_collection,
    "ShowCollections": _show_collections,
    "ShowCollectionInfo": _show_collection_info,
    "DropCollection": _drop("DropCollection", ""),
    "CreateIndex": _create_index,
    "DescribeIndex": _describe_index,
    "DropIndex": _drop("DropIndex", "/indexes"),
    "CreatePartition": _partition("CreatePartition", "POST"),
    "HasPartition": _has_partition,
    "ShowPartitions": _show_partitions,
    "DropPartition": _partition("DropPartition", "DELETE"),
    "Insert": _insert,
    "Search": _search,
    "SearchInFiles": _search_in_files,
    "GetVectorsByID": _get_vectors,
    "GetVectorIDs": _get_vector_ids,
    "DeleteByID": _delete,
    "PreloadCollection": _task("PreloadCollection", "load"),
    "ReleaseCollection": _task("ReleaseCollection", "release"),
    "Flush": _task("Flush", "flush"),
    "Compact": _task("Compact", "compact"),
}
"""Every rpc that the API has something for."""
