"""What a request over HTTP can do wrong beside what every door refuses, and how refusals
are told.
"""

from __future__ import annotations

from typing import ClassVar

from milvine.errors import CallerError, ErrorCode, NothingStored, SegmentNotFound
from milvine.server.operations import Refused
from milvine.wire.status import code_and_reason

_NOT_FOUND = (NothingStored, SegmentNotFound)  # gRPC says 1 for them


class RequestRefused(CallerError, code=ErrorCode.ILLEGAL_ARGUMENT):
    """Codes 31 to 37, which only the web layer has; to events and metrics they are illegal
    arguments.
    """

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


class NotAdmitted(RequestRefused):
    """Whoever asks has no token, one that is not valid or not enough, or asks too often:
    `http_status` tells which.
    """

    web_code = 3

    def __init__(self, message: str, http_status: int = 403) -> None:
        super().__init__(message)
        self.http_status = http_status

    @property
    def headers(self) -> dict[str, str]:
        return {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(
            self.http_status, {}
        )


class TooLarge(RequestRefused):
    """A body over `network.http.body_bytes_max`."""


class TooSlow(RequestRefused):
    """A body that did not arrive within `network.http.receive_seconds`."""


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
