"""The names, signatures and constants that programs written for 1.x rely on (specification 5.1,
5.2, 5.4, 5.8).
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest

import milvine.client
import milvus
from milvine.client import exceptions
from milvus import IndexType, MetricType, Milvus, ParamError, Status
from milvus.client import exceptions as exceptions_of_programs
from tests.client.fakes import FakeTransport

METHODS = {
    "create_collection": "param, timeout=30",
    "has_collection": "collection_name, timeout=30",
    "get_collection_info": "collection_name, timeout=30",
    "count_entities": "collection_name, timeout=30",
    "list_collections": "timeout=30",
    "get_collection_stats": "collection_name, timeout=30",
    "load_collection": "collection_name, partition_tags=None, timeout=None",
    "release_collection": "collection_name, partition_tags=None, timeout=None",
    "reload_segments": "collection_name, segment_ids, timeout=None",
    "drop_collection": "collection_name, timeout=30",
    "insert": "collection_name, records, ids=None, partition_tag=None, params=None, timeout=None",
    "get_entity_by_id": "collection_name, ids, timeout=None, partition_tag=None",
    "list_id_in_segment": "collection_name, segment_name, timeout=None",
    "create_index": "collection_name, index_type=None, params=None, timeout=None",
    "get_index_info": "collection_name, timeout=30",
    "drop_index": "collection_name, timeout=30",
    "create_partition": "collection_name, partition_tag, timeout=30",
    "has_partition": "collection_name, partition_tag, timeout=30",
    "list_partitions": "collection_name, timeout=30",
    "drop_partition": "collection_name, partition_tag, timeout=30",
    "search": (
        "collection_name, top_k, query_records, partition_tags=None, params=None, timeout=None"
    ),
    "search_in_segment": (
        "collection_name, file_ids, query_records, top_k, params=None, timeout=None"
    ),
    "delete_entity_by_id": "collection_name, id_array, timeout=None, partition_tag=None",
    "flush": "collection_name_array=None, timeout=None",
    "compact": "collection_name, timeout=None",
    "server_version": "timeout=30",
    "server_status": "timeout=30",
    "get_config": "parent_key, child_key",
    "set_config": "parent_key, child_key, value",
    "_cmd": "cmd, timeout=30",
    "client_version": "",
    "close": "",
}
REMOVED = ("connect", "disconnect", "connected", "set_hook")  # they only raise


def signature(method: Any) -> str:
    """Positional parameters with their defaults, without annotations and without self."""
    parameters = [
        p
        for p in inspect.signature(method).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    return ", ".join(str(p.replace(annotation=p.empty)) for p in parameters if p.name != "self")


@pytest.mark.parametrize("name", METHODS)
def test_signatures(name: str) -> None:
    assert signature(getattr(Milvus, name)) == METHODS[name]


def test_no_public_method_is_missing_from_the_table() -> None:
    public = {
        name
        for name, _ in inspect.getmembers(Milvus, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public - set(REMOVED) <= set(METHODS)


def test_exported_names() -> None:
    assert set(milvus.__all__) == set(milvine.client.__all__)
    assert all(hasattr(milvus, name) for name in milvus.__all__)


def test_every_exception_is_where_programs_look_for_it() -> None:
    own = {
        name
        for name, each in vars(exceptions).items()
        if getattr(each, "__module__", "") == exceptions.__name__
    }
    assert own == set(exceptions_of_programs.__all__)


def test_exception_bases() -> None:
    for error in (exceptions.ParamError, exceptions.ConnectError):
        assert issubclass(error, ValueError)
    for error in (
        exceptions.NotConnectError,
        exceptions.RepeatingConnectError,
        exceptions.ConnectionPoolError,
    ):
        assert issubclass(error, exceptions.ConnectError)
    assert issubclass(exceptions.FutureTimeoutError, TimeoutError)
    for error in (
        exceptions.VersionError,
        exceptions.DeprecatedError,
        exceptions.ClientClosedError,
    ):
        assert issubclass(error, AttributeError)


def test_enums_print_as_in_1_x() -> None:
    assert repr(IndexType.IVF_FLAT) == "<IndexType: IVF_FLAT>"
    assert str(IndexType.IVF_FLAT) == f"{IndexType.IVFLAT}" == "IVF_FLAT"
    assert f"{MetricType.L2:>4}" == "  L2"
    assert IndexType.IVF_SQ8_H is IndexType.IVF_SQ8H
    assert MetricType.IP == 2
    assert copy.deepcopy(MetricType.IP) is MetricType.IP


def test_status() -> None:
    assert repr(Status()) == str(Status()) == "Status(code=0, message='Success')"
    assert Status().OK() and not Status(Status.ILLEGAL_TOPK).OK()
    assert Status(4) == Status(4, "other") == 4
    assert Status(4) != Status(5) and Status(4) != 5
    assert Status() != "Success" and bool(Status(1))
    assert (Status.SUCCESS, Status.ILLEGAL_RANGE, Status.OUT_OF_MEMORY) == (0, 6, 24)


def test_status_constants_are_the_codes_of_the_wire() -> None:
    from milvine.errors import ErrorCode

    for code in ErrorCode:
        assert getattr(Status, code.name) == code


def test_arguments_of_the_constructor() -> None:
    def made(**arguments: Any) -> Milvus:
        return Milvus(transport=FakeTransport(), try_connect=False, **arguments)

    assert made().name is None and made(name="mine").name == "mine" and made().handler == "GRPC"
    assert made().client_version() == milvus.__version__
    for pool in ("SingletonThread", "Singleton", "QueuePool"):
        made(pool=pool, pool_size=1, wait_timeout=1, max_retry=1, pre_ping=False)
    for wrong in (
        {"pool": "x"},
        {"pool_size": 0},
        {"pool_size": "x"},
        {"max_retry": None},
        {"wait_timeout": "soon"},
    ):
        with pytest.raises(ParamError):
            made(**wrong)


def test_removed_methods(caplog: pytest.LogCaptureFixture) -> None:
    client = Milvus(transport=FakeTransport(), try_connect=False)
    for name in REMOVED:
        with pytest.raises(
            exceptions.DeprecatedError, match=f"^Function {name} has been deprecated$"
        ):
            getattr(client, name)()
    assert {(record.name, record.levelname) for record in caplog.records} == {("milvus", "ERROR")}
