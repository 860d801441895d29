"""The messages of `grpc.health.v1.Health`, and the pool of descriptors that reflection shows.

As those of `schema`, they are made from a private pool: no generated code, and no package to
install.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from milvine.wire.schema import file_descriptors

PACKAGE = "grpc.health.v1"
SERVICE = f"{PACKAGE}.Health"
CHECK = f"/{SERVICE}/Check"
WATCH = f"/{SERVICE}/Watch"

_Field = descriptor_pb2.FieldDescriptorProto


class ServingStatus(IntEnum):
    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


def file_descriptor() -> Any:
    """FileDescriptorProto of grpc/health/v1/health.proto."""
    file = descriptor_pb2.FileDescriptorProto(
        name="grpc/health/v1/health.proto", package=PACKAGE, syntax="proto3"
    )
    file.message_type.add(name="HealthCheckRequest").field.add(
        name="service", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING
    )
    response = file.message_type.add(name="HealthCheckResponse")
    statuses = response.enum_type.add(name="ServingStatus")
    for status in ServingStatus:
        statuses.value.add(name=status.name, number=status.value)
    response.field.add(
        name="status",
        number=1,
        label=_Field.LABEL_OPTIONAL,
        type=_Field.TYPE_ENUM,
        type_name=f".{PACKAGE}.HealthCheckResponse.ServingStatus",
    )
    types = {
        "input_type": f".{PACKAGE}.HealthCheckRequest",
        "output_type": f".{PACKAGE}.HealthCheckResponse",
    }
    service = file.service.add(name="Health")
    service.method.add(name="Check", **types)
    service.method.add(name="Watch", server_streaming=True, **types)
    return file


def descriptors() -> Any:
    """A DescriptorPool with the services that the gRPC port serves."""
    pool = descriptor_pool.DescriptorPool()
    for file in (*file_descriptors(), file_descriptor()):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _message_class(name: str) -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file_descriptor().SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


HealthCheckRequest: Any = _message_class("HealthCheckRequest")
HealthCheckResponse: Any = _message_class("HealthCheckResponse")
