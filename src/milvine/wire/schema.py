"""Every message and rpc of `milvus.grpc.MilvusService`, built from one table (behaviour
specification 1.2 to 1.4).

The classes are made at import in a private descriptor pool. So there is no generated code that ties
Milvine to one protobuf release, and nothing collides when another Milvus client lives in the same
process. `proto/*.proto` say the same for people and for other languages; a test compiles them and
compares.

The classes are dynamic, which is why they are typed `Any`.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from milvine.errors import ErrorCode

PACKAGE = "milvus.grpc"
SERVICE = "milvus.grpc.MilvusService"

MESSAGES: dict[str, str] = {
    "Status": "error_code ErrorCode, reason string",
    "KeyValuePair": "key string, value string",
    "CollectionName": "collection_name string",
    "CollectionNameList": "status Status, collection_names r string",
    "CollectionSchema": (
        "status Status, collection_name string, dimension int64, index_file_size int64, "
        "metric_type int32, extra_params r KeyValuePair"
    ),
    "PartitionParam": "collection_name string, tag string",
    "PartitionList": "status Status, partition_tag_array r string",
    "RowRecord": "float_data r float, binary_data bytes",
    "InsertParam": (
        "collection_name string, row_record_array r RowRecord, row_id_array r int64, "
        "partition_tag string, extra_params r KeyValuePair"
    ),
    "VectorIds": "status Status, vector_id_array r int64",
    "SearchParam": (
        "collection_name string, partition_tag_array r string, query_record_array r RowRecord, "
        "topk int64, extra_params r KeyValuePair"
    ),
    "SearchInFilesParam": "file_id_array r string, search_param SearchParam",
    "SearchByIDParam": (
        "collection_name string, partition_tag_array r string, id_array r int64, topk int64, "
        "extra_params r KeyValuePair"
    ),
    "PreloadCollectionParam": "collection_name string, partition_tag_array r string",
    "ReLoadSegmentsParam": "collection_name string, segment_id_array r string",
    "TopKQueryResult": "status Status, row_num int64, ids r int64, distances r float",
    "StringReply": "status Status, string_reply string",
    "BoolReply": "status Status, bool_reply bool",
    "CollectionRowCount": "status Status, collection_row_count int64",
    "Command": "cmd string",
    "IndexParam": (
        "status Status, collection_name string, index_type int32, extra_params r KeyValuePair"
    ),
    "FlushParam": "collection_name_array r string",
    "DeleteByIDParam": "collection_name string, id_array r int64, partition_tag string",
    "CollectionInfo": "status Status, json_info string",
    "VectorsIdentity": "collection_name string, id_array r int64, partition_tag string",
    "VectorsData": "status Status, vectors_data r RowRecord",
    "GetVectorIDsParam": "collection_name string, segment_name string",
}
"""Message -> its fields in order, numbered from 1: `name [r] type`, r for repeated."""

RPCS: dict[str, tuple[str, str]] = {
    "CreateCollection": ("CollectionSchema", "Status"),
    "HasCollection": ("CollectionName", "BoolReply"),
    "DescribeCollection": ("CollectionName", "CollectionSchema"),
    "CountCollection": ("CollectionName", "CollectionRowCount"),
    "ShowCollections": ("Command", "CollectionNameList"),
    "ShowCollectionInfo": ("CollectionName", "CollectionInfo"),
    "DropCollection": ("CollectionName", "Status"),
    "CreateIndex": ("IndexParam", "Status"),
    "DescribeIndex": ("CollectionName", "IndexParam"),
    "DropIndex": ("CollectionName", "Status"),
    "CreatePartition": ("PartitionParam", "Status"),
    "HasPartition": ("PartitionParam", "BoolReply"),
    "ShowPartitions": ("CollectionName", "PartitionList"),
    "DropPartition": ("PartitionParam", "Status"),
    "Insert": ("InsertParam", "VectorIds"),
    "GetVectorsByID": ("VectorsIdentity", "VectorsData"),
    "GetVectorIDs": ("GetVectorIDsParam", "VectorIds"),
    "Search": ("SearchParam", "TopKQueryResult"),
    "SearchByID": ("SearchByIDParam", "TopKQueryResult"),
    "SearchInFiles": ("SearchInFilesParam", "TopKQueryResult"),
    "Cmd": ("Command", "StringReply"),
    "DeleteByID": ("DeleteByIDParam", "Status"),
    "PreloadCollection": ("PreloadCollectionParam", "Status"),
    "ReleaseCollection": ("PreloadCollectionParam", "Status"),
    "ReloadSegments": ("ReLoadSegmentsParam", "Status"),
    "Flush": ("FlushParam", "Status"),
    "Compact": ("CollectionName", "Status"),
}
"""Rpc -> (request, reply), in the order of the specification."""

HYBRID_RPCS = (
    "CreateHybridCollection",
    "HasHybridCollection",
    "DropHybridCollection",
    "DescribeHybridCollection",
    "CountHybridCollection",
    "ShowHybridCollections",
    "ShowHybridCollectionInfo",
    "PreloadHybridCollection",
    "InsertEntity",
    "HybridSearch",
    "HybridSearchInSegments",
    "GetEntityByID",
    "GetEntityIDs",
    "DeleteEntitiesByID",
)
"""Rpcs that the service declares and no 1.x server implements (appendix A)."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "float": _Field.TYPE_FLOAT,
    "bool": _Field.TYPE_BOOL,
}


def _add_field(message: Any, number: int, text: str) -> None:
    name, *repeated, kind = text.split()
    field = message.field.add(
        name=name, number=number, label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    )
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_ENUM if kind == "ErrorCode" else _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


def _add_message(file: Any, name: str) -> None:
    message = file.message_type.add(name=name)
    for number, text in enumerate(MESSAGES[name].split(", "), start=1):
        _add_field(message, number, text)


def file_descriptors() -> tuple[Any, Any]:
    """FileDescriptorProto of status.proto and of milvus.proto."""
    status = descriptor_pb2.FileDescriptorProto(
        name="status.proto", package=PACKAGE, syntax="proto3"
    )
    codes = status.enum_type.add(name="ErrorCode")
    for code in ErrorCode:
        codes.value.add(name=code.name, number=code.value)
    _add_message(status, "Status")
    milvus = descriptor_pb2.FileDescriptorProto(
        name="milvus.proto", package=PACKAGE, syntax="proto3", dependency=["status.proto"]
    )
    for name in list(MESSAGES)[1:]:
        _add_message(milvus, name)
    service = milvus.service.add(name=SERVICE.rpartition(".")[2])
    for rpc, (request, reply) in RPCS.items():
        service.method.add(
            name=rpc, input_type=f".{PACKAGE}.{request}", output_type=f".{PACKAGE}.{reply}"
        )
    return status, milvus


def _message_classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    for file in file_descriptors():
        pool.AddSerializedFile(file.SerializeToString())
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{PACKAGE}.{name}")) for name in MESSAGES}


_CLASSES = _message_classes()

Status: Any = _CLASSES["Status"]
KeyValuePair: Any = _CLASSES["KeyValuePair"]
CollectionName: Any = _CLASSES["CollectionName"]
CollectionNameList: Any = _CLASSES["CollectionNameList"]
CollectionSchema: Any = _CLASSES["CollectionSchema"]
PartitionParam: Any = _CLASSES["PartitionParam"]
PartitionList: Any = _CLASSES["PartitionList"]
RowRecord: Any = _CLASSES["RowRecord"]
InsertParam: Any = _CLASSES["InsertParam"]
VectorIds: Any = _CLASSES["VectorIds"]
SearchParam: Any = _CLASSES["SearchParam"]
SearchInFilesParam: Any = _CLASSES["SearchInFilesParam"]
SearchByIDParam: Any = _CLASSES["SearchByIDParam"]
PreloadCollectionParam: Any = _CLASSES["PreloadCollectionParam"]
ReLoadSegmentsParam: Any = _CLASSES["ReLoadSegmentsParam"]
TopKQueryResult: Any = _CLASSES["TopKQueryResult"]
StringReply: Any = _CLASSES["StringReply"]
BoolReply: Any = _CLASSES["BoolReply"]
CollectionRowCount: Any = _CLASSES["CollectionRowCount"]
Command: Any = _CLASSES["Command"]
IndexParam: Any = _CLASSES["IndexParam"]
FlushParam: Any = _CLASSES["FlushParam"]
DeleteByIDParam: Any = _CLASSES["DeleteByIDParam"]
CollectionInfo: Any = _CLASSES["CollectionInfo"]
VectorsIdentity: Any = _CLASSES["VectorsIdentity"]
VectorsData: Any = _CLASSES["VectorsData"]
GetVectorIDsParam: Any = _CLASSES["GetVectorIDsParam"]

METHODS: dict[str, tuple[Any, Any]] = {
    rpc: (_CLASSES[request], _CLASSES[reply]) for rpc, (request, reply) in RPCS.items()
}
"""Rpc -> (request class, reply class)."""


def repeated_objects(name: str) -> list[tuple[str, int]]:
    """(field, tag byte) of each repeated field of messages or strings in `name`, those of its parts
    included.
    """
    found = []
    for number, text in enumerate(MESSAGES[name].split(", "), start=1):
        field, *repeated, kind = text.split()
        if repeated and (kind == "string" or kind in MESSAGES):
            found.append((field, number << 3 | 2))
        if kind in MESSAGES:
            found += repeated_objects(kind)
    return found


def method_path(rpc: str) -> str:
    """The HTTP/2 path of an rpc, e.g. `/milvus.grpc.MilvusService/Insert`; a path, of another
    service, is its own.
    """
    return rpc if rpc.startswith("/") else f"/{SERVICE}/{rpc}"
