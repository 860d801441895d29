"""Server reflection: what `grpcurl` and its like ask before they call. Needs grpcio-reflection, of
the extra `server`.

Serves `grpc.reflection.v1` as well as `v1alpha`: they differ in name only.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import grpc
from google.protobuf import descriptor_pb2

from milvine.events import Event
from milvine.events.server import Stopping
from milvine.wire import health, schema

VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
_SERVICE = "ServerReflection"
_STREAMS_MAX = 8
"""Every stream holds one of the threads that serve calls for as long as the client keeps it open.
"""


def installed() -> bool:
    return importlib.util.find_spec("grpc_reflection") is not None


class Reflection:
    """`handlers` are for a grpcio server. Subscribe `listen` to the events: the end of the server
    ends every stream.
    """

    def __init__(self) -> None:
        module = import_module("grpc_reflection.v1alpha.reflection")
        messages = import_module("grpc_reflection.v1alpha.reflection_pb2")
        names = (schema.SERVICE, health.SERVICE, *(f"{package}.{_SERVICE}" for package in VERSIONS))
        pool = health.descriptors()
        for package in VERSIONS:
            pool.AddSerializedFile(_own_file(messages.DESCRIPTOR.serialized_pb, package))
        self._servicer = module.ReflectionServicer(names, pool)
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        method = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=messages.ServerReflectionRequest.FromString,
            response_serializer=messages.ServerReflectionResponse.SerializeToString,
        )
        self.handlers: tuple[Any, ...] = tuple(
            grpc.method_handlers_generic_handler(
                f"{package}.{_SERVICE}", {"ServerReflectionInfo": method}
            )
            for package in VERSIONS
        )

    def listen(self, event: Event) -> None:
        if isinstance(event, Stopping):
            with self._lock:
                contexts = list(self._open)
            for context in contexts:
                context.cancel()

    def _serve(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        with self._lock:
            full = len(self._open) >= _STREAMS_MAX
            if not full:
                self._open.add(context)
        if full:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{_STREAMS_MAX} reflection streams are open already",
            )
        try:
            yield from self._servicer.ServerReflectionInfo(requests, context)
        finally:
            with self._lock:
                self._open.discard(context)


def _own_file(serialized: bytes, package: str) -> bytes:
    """The description of reflection itself (v1alpha, serialized), as one of `package`."""
    file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
    file.name = f"{package.replace('.', '/')}/reflection.proto"
    before, file.package = f".{file.package}.", package
    for message in file.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = field.type_name.replace(before, f".{package}.")
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(before, f".{package}.")
            method.output_type = method.output_type.replace(before, f".{package}.")
    return bytes(file.SerializeToString())
