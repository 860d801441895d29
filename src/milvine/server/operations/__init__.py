"""One function per operation, and the table that every transport calls them through."""

from milvine.server.operations.refusals import GrpcStatus, MalformedRequest, Refused, UnknownMethod
from milvine.server.operations.table import NOT_SERVED, SERVED, Operations

__all__ = [
    "GrpcStatus",
    "MalformedRequest",
    "NOT_SERVED",
    "Operations",
    "Refused",
    "SERVED",
    "UnknownMethod",
]
