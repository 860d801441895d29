"""Requests that get no reply message: the door turns these into a gRPC status."""

from __future__ import annotations

from enum import IntEnum


class GrpcStatus(IntEnum):
    """Codes of gRPC itself, those that are needed. Named here because operations know no gRPC
    library.
    """

    UNKNOWN = 2
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Refused(Exception):
    """`status` and the text go to the caller as they are."""

    def __init__(self, status: GrpcStatus, details: str) -> None:
        super().__init__(details)
        self.status = status


class UnknownMethod(Refused):
    """The rpc does not exist, or is not served by this release."""

    def __init__(self, rpc: str) -> None:
        super().__init__(GrpcStatus.UNIMPLEMENTED, "")
        self.rpc = rpc


class MalformedRequest(Refused):
    """The bytes are no such message, or the JSON in its extra parameters is none."""

    @classmethod
    def undecodable(cls, reason: str) -> MalformedRequest:
        return cls(GrpcStatus.INTERNAL, f"Exception deserializing request: {reason}")

    @classmethod
    def bad_json(cls) -> MalformedRequest:
        """As 1.x answers (specification 1.1)."""
        return cls(GrpcStatus.UNKNOWN, "Unexpected error in RPC handling")
