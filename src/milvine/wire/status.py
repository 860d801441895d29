"""Errors as `Status` messages: the one translation (specification 1.3, 3.22)."""

from __future__ import annotations

from typing import Any

from milvine.errors import ErrorCode, MilvineError
from milvine.wire import schema

OK_REASON = "OK"
OK_FIELD = b"\x0a\x04\x12\x02OK"
"""The field `status = 1` of a successful reply, as it is on the wire."""


def code_and_reason(error: BaseException) -> tuple[ErrorCode, str]:
    """What a reply says about `error`. Errors that are not ours are unexpected: code 1, or 24 when
    memory ran out.
    """
    if isinstance(error, MilvineError):
        return error.code, error.message
    if isinstance(error, MemoryError):
        return ErrorCode.OUT_OF_MEMORY, str(
            error
        ) or "The server ran out of memory while serving the request"
    return ErrorCode.UNEXPECTED_ERROR, f"Unexpected error: {type(error).__name__}: {error}"


def set_status(reply: Any, code: int = ErrorCode.SUCCESS, reason: str = OK_REASON) -> Any:
    """Writes the status into a reply message, which may be a `Status` itself, and returns the
    reply.
    """
    status = reply if isinstance(reply, schema.Status) else reply.status
    status.error_code, status.reason = int(code), reason
    return reply


def read_status(reply: Any) -> tuple[int, str]:
    """(code, reason) of a reply message, which may be a `Status` itself."""
    status = reply if isinstance(reply, schema.Status) else reply.status
    return int(status.error_code), str(status.reason)
