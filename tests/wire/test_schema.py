"""The table of messages, the shipped .proto files and the specification say the same."""

import importlib.resources
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from milvine.wire import schema

protoc = pytest.importorskip("grpc_tools.protoc")
PROTO = Path(str(importlib.resources.files("milvine.wire") / "proto"))


def test_proto_files_compile_to_the_same_descriptors(tmp_path: Path) -> None:
    out = tmp_path / "set.bin"
    arguments = [
        "protoc",
        f"-I{PROTO}",
        "--include_imports",
        f"-o{out}",
        str(PROTO / "milvus.proto"),
    ]
    assert protoc.main(arguments) == 0
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    for ours, theirs in zip(schema.file_descriptors(), compiled.file, strict=True):
        for message in theirs.message_type:
            for field in message.field:
                field.ClearField("json_name")  # protoc fills in what follows from the name
        assert str(ours) == str(theirs)


def test_every_message_and_rpc_is_there() -> None:
    assert len(schema.RPCS) == 27
    for name in schema.MESSAGES:
        assert getattr(schema, name).DESCRIPTOR.full_name == f"milvus.grpc.{name}"
    for rpc, (request, reply) in schema.METHODS.items():
        assert (request.DESCRIPTOR.name, reply.DESCRIPTOR.name) == schema.RPCS[rpc]


def test_error_codes_skip_six() -> None:
    values = schema.Status.DESCRIPTOR.fields_by_name["error_code"].enum_type.values_by_number
    assert sorted(values) == [0, 1, 2, 3, 4, 5, *range(7, 25)]


def test_repeated_objects_include_those_of_parts() -> None:
    assert schema.repeated_objects("SearchInFilesParam") == [
        ("file_id_array", 0x0A),
        ("partition_tag_array", 0x12),
        ("query_record_array", 0x1A),
        ("extra_params", 0x2A),
    ]
