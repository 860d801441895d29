"""Each method against a transport of our own: what is sent, what comes back, what a failure looks
like (5.4 to 5.7).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from milvine.client import requests
from milvine.client.results import CollectionSchema, IndexParam, TopKQueryResult
from milvine.client.transports import TransportFailed
from milvine.wire import packed, schema
from milvus import AsyncMilvus, IndexType, MetricType, Milvus, ParamError, Status
from tests.client.fakes import FakeTransport, reply_of

PARAMS = [schema.KeyValuePair(key="params", value='{"nlist":16}')]
SCHEMA = {"collection_name": "a", "dimension": 4, "index_file_size": 8, "metric_type": 2}
SEARCHED, DESCRIBED = "Search vectors successfully!", "Describe collection successfully!"
SHOWN = "Show collections successfully!"
HITS = {"row_num": 1, "ids": [5, -1], "distances": [0.5, 3.4e38]}

Call = Callable[[Milvus], Any]
# rpc, call, fields of the reply, message on success, values beside an error of the server and an
# error of the call
PAIRS: list[tuple[str, Call, dict[str, Any], str, Any, Any]] = [
    ("HasCollection", lambda m: m.has_collection("a"), {"bool_reply": True}, "Success", False,
     False),
    ("DescribeCollection", lambda m: m.get_collection_info("a"), SCHEMA, DESCRIBED, None, None),
    ("CountCollection", lambda m: m.count_entities("a"), {"collection_row_count": 3}, "Success!",
     None, None),
    ("ShowCollections", lambda m: m.list_collections(), {"collection_names": "a"}, SHOWN, [], []),
    ("ShowCollectionInfo", lambda m: m.get_collection_stats("a"), {"json_info": "{}"}, "Success",
     None, None),
    ("Insert", lambda m: m.insert("a", [[1.0]]), {"vector_id_array": [7]},
     "Add vectors successfully!", [], []),
    ("GetVectorsByID", lambda m: m.get_entity_by_id("a", [1]), {}, "Obtain vector successfully", [],
     []),
    ("GetVectorIDs", lambda m: m.list_id_in_segment("a", "1"), {"vector_id_array": [7]}, "Success",
     [], []),
    ("DescribeIndex", lambda m: m.get_index_info("a"), {"index_type": 2}, "Successfully", None,
     None),
    ("HasPartition", lambda m: m.has_partition("a", "t"), {"bool_reply": True}, "OK", False, False),
    ("ShowPartitions", lambda m: m.list_partitions("a"), {"partition_tag_array": ["t"]}, "Success",
     [], []),
    ("Search", lambda m: m.search("a", 2, [[1.0]]), HITS, SEARCHED, [], None),
    ("SearchInFiles", lambda m: m.search_in_segment("a", [1], [[1.0]], 2), HITS, SEARCHED, [],
     None),
    ("Cmd", lambda m: m.server_version(), {"string_reply": "1.1.1"}, "Success!", None, None),
    ("Cmd", lambda m: m.server_status(), {"string_reply": "OK"}, "Success!", None, None),
    ("Cmd", lambda m: m.get_config("cache", "cache_size"), {"string_reply": "4GB"}, "Success!",
     None, None),
    ("Cmd", lambda m: m.set_config("cache", "cache_size", "1GB"), {}, "Success!", None, None),
]  # fmt: skip
STATUSES: list[tuple[str, Call, str]] = [
    (
        "CreateCollection",
        lambda m: m.create_collection({"collection_name": "a", "dimension": 4}),
        "Create collection successfully!",
    ),
    ("DropCollection", lambda m: m.drop_collection("a"), "Delete collection successfully!"),
    ("PreloadCollection", lambda m: m.load_collection("a"), "OK"),
    ("ReleaseCollection", lambda m: m.release_collection("a", ["t"]), "OK"),
    ("ReloadSegments", lambda m: m.reload_segments("a", ["1"]), "OK"),
    ("CreateIndex", lambda m: m.create_index("a"), "Build index successfully!"),
    ("DropIndex", lambda m: m.drop_index("a"), "OK"),
    ("CreatePartition", lambda m: m.create_partition("a", "t"), "OK"),
    ("DropPartition", lambda m: m.drop_partition("a", "t"), "OK"),
    ("DeleteByID", lambda m: m.delete_entity_by_id("a", [1]), "OK"),
    ("Flush", lambda m: m.flush(), "OK"),
    ("Compact", lambda m: m.compact("a"), "OK"),
]


def client(**replies: Any) -> tuple[Milvus, FakeTransport]:
    transport = FakeTransport(**replies)
    return Milvus(transport=transport, try_connect=False), transport


@pytest.mark.parametrize(("rpc", "call", "fields", "message", "refused", "unanswered"), PAIRS)
def test_pairs(
    rpc: str, call: Call, fields: dict[str, Any], message: str, refused: Any, unanswered: Any
) -> None:
    milvus, transport = client(**{rpc: reply_of(rpc, **fields)})
    status, _ = call(milvus)
    assert repr(status) == f"Status(code=0, message='{message}')" and transport.sent[0][0] == rpc
    transport.replies[rpc] = reply_of(rpc, 4, "no such thing")
    status, value = call(milvus)
    assert (repr(status), value) == ("Status(code=4, message='no such thing')", refused)
    transport.replies[rpc] = TransportFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    status, value = call(milvus)
    assert (status.code, status.message) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "Error occurred. Deadline Exceeded",
    )
    assert value == unanswered and type(value) is type(unanswered) and not status.OK()


@pytest.mark.parametrize(("rpc", "call", "message"), STATUSES)
def test_statuses(rpc: str, call: Call, message: str) -> None:
    milvus, transport = client(**{rpc: reply_of(rpc)})
    assert (
        repr(call(milvus)) == f"Status(code=0, message='{message}')" and transport.sent[0][0] == rpc
    )
    transport.replies[rpc] = reply_of(rpc, 1, "refused")
    assert repr(call(milvus)) == "Status(code=1, message='refused')"
    transport.replies[rpc] = TransportFailed(grpc.StatusCode.UNIMPLEMENTED, "")
    assert call(milvus).code is grpc.StatusCode.UNIMPLEMENTED


def test_failure_values_are_not_shared() -> None:
    milvus, _ = client(Search=reply_of("Search", 4, "no"))
    first = milvus.search("a", 1, [[1.0]])[1]
    first.append("mine")
    assert milvus.search("a", 1, [[1.0]])[1] == []


def test_values() -> None:
    milvus, transport = client(
        DescribeCollection=reply_of("DescribeCollection", **SCHEMA),
        DescribeIndex=reply_of(
            "DescribeIndex", collection_name="a", index_type=2, extra_params=PARAMS
        ),
        ShowCollectionInfo=reply_of("ShowCollectionInfo", json_info='{"row_count":3}'),
        Search=reply_of("Search", **HITS),
        Insert=reply_of("Insert", vector_id_array=[2**62]),
    )
    assert milvus.get_collection_info("a")[1] == CollectionSchema("a", 4, 8, MetricType.IP)
    assert milvus.get_index_info("a")[1] == IndexParam("a", IndexType.IVF_FLAT, {"nlist": 16})
    assert milvus.get_collection_stats("a")[1] == {"row_count": 3}
    transport.replies["ShowCollectionInfo"] = reply_of("ShowCollectionInfo")
    assert milvus.get_collection_stats("a")[1] == {}
    assert milvus.insert("a", [[1.0]])[1] == [2**62]
    result = milvus.search("a", 2, [[1.0]])[1]
    assert (
        isinstance(result, TopKQueryResult) and result.id_array == [[5]] and result.shape == (1, 2)
    )


def test_entities() -> None:
    record = schema.RowRecord
    milvus, transport = client(
        GetVectorsByID=reply_of(
            "GetVectorsByID",
            vectors_data=[record(float_data=[1, 2]), record(), record(float_data=[3, 4])],
        )
    )
    assert milvus.get_entity_by_id("a", [1, 2, 3])[1] == [[1.0, 2.0], [], [3.0, 4.0]]
    rows = [record(), record(binary_data=b"\x00\xff")]
    transport.replies["GetVectorsByID"] = reply_of("GetVectorsByID", vectors_data=rows)
    assert milvus.get_entity_by_id("a", [1, 2])[1] == [[], b"\x00\xff"]


def test_requests() -> None:
    milvus, transport = client(**{rpc: reply_of(rpc) for rpc in schema.RPCS})
    milvus.create_collection({"collection_name": "a", "dimension": 4, "metric_type": MetricType.IP})
    assert not transport.last().extra_params
    with pytest.warns(UserWarning, match="^create_collection: the key x has no effect$"):
        milvus.create_collection(
            {"collection_name": "a", "dimension": 4, "metric_type": MetricType.IP, "x": [1]}
        )
    sent = transport.last()
    assert (sent.collection_name, sent.dimension, sent.index_file_size, sent.metric_type) == (
        "a",
        4,
        1024,
        2,
    )
    assert (sent.status.reason, sent.extra_params[0].key, sent.extra_params[0].value) == (
        "Client",
        "params",
        '{"x":[1]}',
    )
    milvus.create_index("a", IndexType.IVF_FLAT, {"nlist": np.int64(16)})
    sent = transport.last()
    assert (sent.index_type, sent.status.reason, sent.extra_params[0].value) == (
        2,
        "Client",
        '{"nlist":16}',
    )
    milvus.create_index("a")
    assert (transport.last().index_type, transport.last().extra_params[0].value) == (1, "{}")
    milvus.list_collections()
    assert transport.last().cmd == "show_collections"
    milvus.set_config("cache", "size", 5)
    assert transport.last().cmd == "set_config cache.size 5"
    milvus.get_config("cache", "size")
    assert transport.last().cmd == "get_config cache.size"
    milvus.flush(["a", "b"])
    assert list(transport.last().collection_name_array) == ["a", "b"]
    milvus.delete_entity_by_id("a", [1, 2], partition_tag="t")
    assert (list(transport.last().id_array), transport.last().partition_tag) == ([1, 2], "t")
    milvus.search_in_segment("a", ["7", 8], [[1.0, 2.0]], 3, {"nprobe": 1})
    sent = transport.last()
    assert list(sent.file_id_array) == ["7", "8"] and sent.search_param.topk == 3
    assert list(sent.search_param.query_record_array[0].float_data) == [1.0, 2.0]


def test_insert_and_search_requests() -> None:
    milvus, transport = client(Insert=reply_of("Insert"), Search=reply_of("Search"))
    milvus.insert("a", np.arange(6, dtype=np.float64).reshape(2, 3), ids=(4, 5), partition_tag="t")
    sent = packed.decode_insert(transport.sent[-1][1])
    assert (sent.collection, sent.tag, sent.params, sent.ids.tolist()) == ("a", "t", "{}", [4, 5])
    assert sent.rows.vectors is not None and sent.rows.vectors.tolist() == [[0, 1, 2], [3, 4, 5]]
    milvus.insert("a", [b"\x01\x02"])
    assert transport.last().row_record_array[0].binary_data == b"\x01\x02"
    assert not transport.last().row_id_array and not transport.last().partition_tag
    milvus.search("a", -1, [[1.0]], ["t", ""], {"nprobe": 3})
    sent_search = transport.last()
    assert (sent_search.topk, list(sent_search.partition_tag_array)) == (-1, ["t", ""])
    assert json.loads(sent_search.extra_params[0].value) == {"nprobe": 3}


def test_load_collection_as_in_0_2() -> None:
    milvus, transport = client(PreloadCollection=reply_of("PreloadCollection"))
    with pytest.warns(DeprecationWarning, match="name the timeout"):
        assert milvus.load_collection("a", 5).OK()
    assert transport.sent[-1][2] == 5.0 and not transport.last().partition_tag_array


def test_split_inserts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "INSERT_BYTES_MAX", 2 * 3 * 4)
    milvus, transport = client(Insert=reply_of("Insert", vector_id_array=[7, 8]))
    vectors = np.arange(15, dtype=np.float32).reshape(5, 3)
    status, ids = milvus.insert("a", vectors, [1, 2, 3, 4, 5], "t", split=True)
    sent = [packed.decode_insert(request) for _, request, _ in transport.sent]
    assert status.OK() and ids == [7, 8] * 3
    assert [part.ids.tolist() for part in sent] == [[1, 2], [3, 4], [5]]
    assert np.concatenate([part.rows.vectors for part in sent]).tolist() == vectors.tolist()
    assert {(part.collection, part.tag) for part in sent} == {("a", "t")}
    transport.sent.clear()
    assert milvus.insert("a", np.zeros((2, 100)), split=True)[0].OK() and len(transport.sent) == 2
    assert milvus.insert("a", vectors)[0].OK() and len(transport.sent) == 3


@pytest.mark.parametrize(
    "failure", [reply_of("Insert", 1, "no"), TransportFailed(grpc.StatusCode.UNAVAILABLE, "gone")]
)
def test_a_split_insert_that_fails_midway(failure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class FailsAfterTheFirst(FakeTransport):
        def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
            self.replies[method] = failure if self.sent else reply_of("Insert", vector_id_array=[7])
            return super().call(method, request, timeout)

    monkeypatch.setattr(requests, "INSERT_BYTES_MAX", 4)
    transport = FailsAfterTheFirst()
    status, ids = Milvus(transport=transport, try_connect=False).insert(
        "a", [[1.0], [2.0], [3.0]], split=True
    )
    assert not status.OK() and ids == [7] and len(transport.sent) == 2


def test_split_inserts_are_synchronous() -> None:
    with pytest.raises(ParamError):
        client()[0].insert("a", [[1.0]], split=True, _async=True)


def test_timeouts() -> None:
    milvus, transport = client(
        Compact=reply_of("Compact"), Search=reply_of("Search"), Cmd=reply_of("Cmd")
    )
    milvus.compact(collection_name="a", timeout="1")
    milvus.search("a", 1, [[1.0]], timeout=2)
    milvus.server_version()
    milvus.compact("a")
    assert [timeout for *_, timeout in transport.sent] == [1.0, 2.0, 30.0, None]
    with pytest.raises(ParamError, match="`timeout` value soon is illegal"):
        milvus.compact("a", timeout="soon")


def test_wrong_arguments_send_nothing() -> None:
    milvus, transport = client()
    for call in (
        lambda: milvus.insert("", [[1.0]]),
        lambda: milvus.insert("a", [[1.0]], ids=[1, 2]),
        lambda: milvus.insert("a", [[1.0]], ids=[]),
        lambda: milvus.insert("a", [[1.0]], partition_tag=5),
        lambda: milvus.search("a", True, [[1.0]]),
        lambda: milvus.search("a", 1, [[1.0]], params="{}"),
        lambda: milvus.create_partition("a", None),
        lambda: milvus.flush("a"),
        lambda: milvus._cmd(""),
    ):
        with pytest.raises(ParamError):
            call()
    assert transport.sent == []


@pytest.mark.parametrize("kind", [Milvus, AsyncMilvus])
def test_so_are_those_of_the_constructor_that_do_not_exist(kind: Any) -> None:
    with pytest.warns(
        UserWarning, match=f"^{kind.__name__}: the keyword xyz has no effect$"
    ) as warned:
        kind(transport=FakeTransport(), try_connect=False, xyz=1)
    assert [warning.filename for warning in warned] == [__file__]
    with pytest.warns(UserWarning, match="did you mean wait_timeout"):
        kind(transport=FakeTransport(), try_connect=False, wait_timeouts=1)


def test_keywords_that_do_not_exist_are_ignored_with_a_warning() -> None:
    ok = reply_of("Flush")
    milvus, transport = client(
        Insert=reply_of("Insert"),
        Search=reply_of("Search"),
        SearchInFiles=reply_of("SearchInFiles"),
        CreateIndex=ok,
        Flush=ok,
        Compact=ok,
    )
    calls: dict[str, Any] = {
        "insert": lambda **more: milvus.insert("a", [[1.0]], **more)[0],
        "search": lambda **more: milvus.search("a", 1, [[1.0]], **more)[0],
        "search_in_segment": lambda **more: milvus.search_in_segment("a", [1], [[1.0]], 1, **more)[
            0
        ],
        "create_index": lambda **more: milvus.create_index("a", **more),
        "flush": lambda **more: milvus.flush(["a"], **more),
        "compact": lambda **more: milvus.compact("a", **more),
    }
    for name, call in calls.items():
        with pytest.warns(
            UserWarning,
            match=f"^{name}: the keyword timeuot has no effect; did you mean timeout\\?$",
        ) as told:
            assert call(timeuot=1).OK()
        assert told[0].filename == __file__
        with pytest.warns(UserWarning, match=f"^{name}: the keyword xyz has no effect$"):
            assert call(xyz=1).OK()
    assert len(transport.sent) == 12
    with pytest.warns(UserWarning, match="did you mean partition_tags"):
        milvus.search("a", 1, [[1.0]], partition_tag="t")


def test_so_are_keys_of_a_collection_that_do_not_exist() -> None:
    milvus, transport = client(CreateCollection=reply_of("CreateCollection"))
    param = {"collection_name": "a", "dimension": 4, "metric_typ": 2, 5: 1}
    with pytest.warns(UserWarning) as told:
        assert milvus.create_collection(param).OK()
    assert [str(each.message) for each in told] == [
        "create_collection: the key metric_typ has no effect; did you mean metric_type?",
        "create_collection: the key 5 has no effect",
    ]
    assert {each.filename for each in told} == {__file__}
    assert json.loads(transport.last().extra_params[0].value) == {"metric_typ": 2, "5": 1}


@pytest.mark.parametrize("wrong", [5, "abc", b"x", [1], ["\ud800"], {"a"}])
def test_texts_that_are_none(wrong: Any) -> None:
    milvus, transport = client()
    calls: list[Callable[[], Any]] = [
        lambda: milvus.load_collection("a", partition_tags=wrong),
        lambda: milvus.release_collection("a", wrong),
    ]
    if wrong not in (5, [1]):  # which is a timeout there, and a segment
        calls.append(lambda: milvus.reload_segments("a", wrong))
    for call in calls if wrong != 5 else calls[1:]:
        with pytest.raises(ParamError, match=" is illegal$"):
            call()
    assert not transport.sent


@pytest.mark.parametrize("wrong", [{"a": object()}, {"a": {1}}, {(1, 2): 3}])
def test_params_that_are_no_json(wrong: Any) -> None:
    milvus, transport = client()
    for call in (
        lambda: milvus.search("a", 1, [[1.0]], params=wrong),
        lambda: milvus.create_index("a", params=wrong),
        lambda: milvus.insert("a", [[1.0]], params=wrong),
    ):
        with pytest.raises(ParamError, match="^Params cannot be sent as JSON: "):
            call()
    assert not transport.sent


def test_lengths_of_ids_and_vectors() -> None:
    milvus, _ = client()
    with pytest.raises(ParamError, match=r"^length of vectors do not match that of ids$"):
        milvus.insert("a", [[1.0]], ids=[1, 2])


def test_other_errors_are_raised() -> None:
    milvus, _ = client(Cmd=KeyError("broken"))
    with pytest.raises(KeyError):
        milvus.server_version()


def test_misaligned_result_is_raised() -> None:
    milvus, _ = client(Search=reply_of("Search", row_num=2, ids=[1], distances=[1.0]))
    with pytest.raises(ValueError, match="not aligned"):
        milvus.search("a", 1, [[1.0]])


def test_status_is_a_status() -> None:
    milvus, _ = client(Compact=reply_of("Compact"))
    assert isinstance(milvus.compact("a"), Status)
