"""What a request over HTTP can do wrong beside what every door refuses, and how refusals are told."""

from __future__ import annotations

from typing import ClassVar

from milvine.errors import CallerError, ErrorCode, NothingStored, SegmentNotFound
from milvine.server.operations import Refused
from milvine.wire.status import code_and_reason

_NOT_FOUND = (NothingStored, SegmentNotFound)  # gRPC says 1 for them


class RequestRefused(CallerError, code=ErrorCode.ILLEGAL_ARGUMENT):
    """Codes 31 to 37, which only the web layer has; to events and metrics they are illegal arguments."""

    web_code: ClassVar[int] = 31


class UnknownPath(RequestRefused):
    web_code = 32


class QueryMissing(RequestRefused):
    web_code = 33


class FieldMissing(RequestRefused):
    web_code = 34


class IllegalBody(RequestRefused):
    web_code = 35


class BodyUnparsable(RequestRefused):
    web_code = 36


class IllegalQuery(RequestRefused):
    web_code = 37


def code_and_message(error: BaseException) -> tuple[int, str]:
    """The web code of an error, and its text."""
    if isinstance(error, RequestRefused):
        return error.web_code, error.message
    if isinstance(error, _NOT_FOUND):
        return int(ErrorCode.COLLECTION_NOT_EXISTS), error.message
    if isinstance(error, Refused):
        return int(ErrorCode.UNEXPECTED_ERROR), str(error)
    code, message = code_and_reason(error)
    return int(code), message


def http_status(path: str, code: int) -> int:
    """404 for code 4 below `/collections/`; 400 for whatever else fails."""
    missing = code == ErrorCode.COLLECTION_NOT_EXISTS and path.startswith("/collections/")
    return 404 if missing else 400
