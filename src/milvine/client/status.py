"""`Status`: what every call of the client returns, alone or first of a pair (specification 5.8)."""

from __future__ import annotations

from typing import Any, ClassVar

from milvine.errors import ErrorCode


class Status:
    """Outcome of a call.

    `code` is an int of the constants below, or a `grpc.StatusCode` when the call itself failed (no
    answer, deadline). Equal to another Status or to an int with the same code. Always true in a
    condition: use `OK()`.
    """

    SUCCESS: ClassVar[int] = 0
    UNEXPECTED_ERROR: ClassVar[int] = 1
    CONNECT_FAILED: ClassVar[int] = 2
    PERMISSION_DENIED: ClassVar[int] = 3
    COLLECTION_NOT_EXISTS: ClassVar[int] = 4
    ILLEGAL_ARGUMENT: ClassVar[int] = 5
    ILLEGAL_RANGE: ClassVar[int] = 6  # a constant of the 1.x client that no server sends
    ILLEGAL_DIMENSION: ClassVar[int] = 7
    ILLEGAL_INDEX_TYPE: ClassVar[int] = 8
    ILLEGAL_COLLECTION_NAME: ClassVar[int] = 9
    ILLEGAL_TOPK: ClassVar[int] = 10
    ILLEGAL_ROWRECORD: ClassVar[int] = 11
    ILLEGAL_VECTOR_ID: ClassVar[int] = 12
    ILLEGAL_SEARCH_RESULT: ClassVar[int] = 13
    FILE_NOT_FOUND: ClassVar[int] = 14
    META_FAILED: ClassVar[int] = 15
    CACHE_FAILED: ClassVar[int] = 16
    CANNOT_CREATE_FOLDER: ClassVar[int] = 17
    CANNOT_CREATE_FILE: ClassVar[int] = 18
    CANNOT_DELETE_FOLDER: ClassVar[int] = 19
    CANNOT_DELETE_FILE: ClassVar[int] = 20
    BUILD_INDEX_ERROR: ClassVar[int] = 21
    ILLEGAL_NLIST: ClassVar[int] = 22
    ILLEGAL_METRIC_TYPE: ClassVar[int] = 23
    OUT_OF_MEMORY: ClassVar[int] = 24

    def __init__(self, code: Any = ErrorCode.SUCCESS.value, message: str = "Success") -> None:
        self.code = code
        self.message = message

    def OK(self) -> bool:
        return bool(self.code == Status.SUCCESS)

    def __eq__(self, other: object) -> bool:
        return bool(self.code == (other.code if isinstance(other, Status) else other))

    __hash__ = None  # type: ignore[assignment]  # equal to its code and mutable

    def __repr__(self) -> str:
        return f"Status(code={self.code}, message={self.message!r})"
