"""One tree of errors. Each class carries the wire code of the specification (1.3) from the line
that defines it.

    MilvineError
      CallerError            the caller must change the request
        CollectionNotFound, IllegalArgument, IllegalDimension, ...
      OperatorError          whoever runs the database must act
        DataFolderLocked, CorruptFile, UnsupportedFormat, StorageFailed, ...

Instances pickle: they are rebuilt from their message.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ErrorCode(IntEnum):
    """Values of `milvus.grpc.ErrorCode` (specification 1.3)."""

    SUCCESS = 0
    UNEXPECTED_ERROR = 1
    CONNECT_FAILED = 2
    PERMISSION_DENIED = 3
    COLLECTION_NOT_EXISTS = 4
    ILLEGAL_ARGUMENT = 5
    ILLEGAL_DIMENSION = 7
    ILLEGAL_INDEX_TYPE = 8
    ILLEGAL_COLLECTION_NAME = 9
    ILLEGAL_TOPK = 10
    ILLEGAL_ROWRECORD = 11
    ILLEGAL_VECTOR_ID = 12
    ILLEGAL_SEARCH_RESULT = 13
    FILE_NOT_FOUND = 14
    META_FAILED = 15
    CACHE_FAILED = 16
    CANNOT_CREATE_FOLDER = 17
    CANNOT_CREATE_FILE = 18
    CANNOT_DELETE_FOLDER = 19
    CANNOT_DELETE_FILE = 20
    BUILD_INDEX_ERROR = 21
    ILLEGAL_NLIST = 22
    ILLEGAL_METRIC_TYPE = 23
    OUT_OF_MEMORY = 24


class MilvineError(Exception):
    """Base of every error Milvine raises on purpose."""

    code: ClassVar[ErrorCode] = ErrorCode.UNEXPECTED_ERROR

    def __init_subclass__(cls, code: ErrorCode | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code

    @property
    def message(self) -> str:
        return str(self)


class CallerError(MilvineError):
    """The request must change."""


class IllegalArgument(CallerError, code=ErrorCode.ILLEGAL_ARGUMENT):
    pass


class IllegalDimension(CallerError, code=ErrorCode.ILLEGAL_DIMENSION):
    pass


class IllegalIndexType(CallerError, code=ErrorCode.ILLEGAL_INDEX_TYPE):
    pass


class IllegalCollectionName(CallerError, code=ErrorCode.ILLEGAL_COLLECTION_NAME):
    pass


class IllegalTopk(CallerError, code=ErrorCode.ILLEGAL_TOPK):
    pass


class IllegalRowRecord(CallerError, code=ErrorCode.ILLEGAL_ROWRECORD):
    pass


class IllegalVectorId(CallerError, code=ErrorCode.ILLEGAL_VECTOR_ID):
    pass


class IllegalMetricType(CallerError, code=ErrorCode.ILLEGAL_METRIC_TYPE):
    pass


class CollectionNotFound(CallerError, code=ErrorCode.COLLECTION_NOT_EXISTS):
    @classmethod
    def named(cls, name: str) -> CollectionNotFound:
        return cls(
            f"Collection {name} does not exist. Use milvus.has_collection to verify whether the"
            " collection exists. You also can check whether the collection name exists."
        )


class CollectionExists(CallerError, code=ErrorCode.ILLEGAL_COLLECTION_NAME):
    def __init__(self, message: str = "Collection already exists") -> None:
        super().__init__(message)


class IllegalPartition(CallerError, code=ErrorCode.UNEXPECTED_ERROR):
    """Every partition problem has code 1 on the wire (specification 1.3)."""


class PartitionNotFound(IllegalPartition):
    @classmethod
    def named(cls, collection: str, tag: str) -> PartitionNotFound:
        return cls(f"Collection {collection}'s partition {tag} not found")

    @classmethod
    def unmatched(cls) -> PartitionNotFound:
        return cls("The specified partition does not exist")


class DefaultPartitionDrop(CallerError, code=ErrorCode.ILLEGAL_COLLECTION_NAME):
    def __init__(self, message: str = "Default partition cannot be dropped.") -> None:
        super().__init__(message)


class NothingStored(CallerError):
    def __init__(self, message: str = "Collection or partition is empty") -> None:
        super().__init__(message)


class SegmentNotFound(CallerError):
    """Merges and compaction give rows to segments of new names: look the names up again
    and retry.
    """

    def __init__(self, message: str = "Segment does not exist") -> None:
        super().__init__(message)

    @classmethod
    def elsewhere(cls) -> SegmentNotFound:
        return cls("Segment does not belong to this collection")

    @classmethod
    def no_file(cls) -> SegmentNotFound:
        return cls("Invalid file id")


class Unsupported(CallerError):
    """Something Milvus 1.x has and this release does not; the text says what to use instead."""


class ReentrantCall(CallerError, RuntimeError):
    """A listener or a handler of the log calls the database from the very thread that the call
    would wait for.
    """

    def __init__(
        self,
        message: str = (
            "A thread of the database cannot change or close it: a handler of the log, or a"
            " listener, called it from there. Hand the call to a thread of your own"
        ),
    ) -> None:
        super().__init__(message)


class OperatorError(MilvineError):
    """Whoever runs the database must act."""


class DataFolderLocked(OperatorError):
    """Another process holds the data folder."""


class UnsupportedFormat(OperatorError):
    """The folder or a file was written by a newer Milvine."""


class CorruptFile(OperatorError):
    """A checksum does not match. The text names the file and the offset."""

    @classmethod
    def at(cls, name: str, offset: int, what: str) -> CorruptFile:
        return cls(f"{name} is damaged at byte {offset}: {what}")


class StorageFailed(OperatorError):
    """A write, sync, read or catalog commit failed (disk full, permission, I/O error)."""


class FolderGone(StorageFailed):
    """The folder, or a file in it, was moved, removed or replaced while the database was
    open. Nothing is written."""

    @classmethod
    def at(cls, what: str, path: object) -> FolderGone:
        return cls(
            f"{what} {path} was moved, removed or replaced while the database was open. Nothing"
            " more is written; what was stored before is where it went. Close the database, and"
            " open it anew"
        )


class DiskFull(StorageFailed):
    """There is no room on the disk. Reads go on; writing goes on by itself as soon as there is
    room.
    """


class CatalogFailed(StorageFailed, code=ErrorCode.META_FAILED):
    pass


class CatalogFull(CatalogFailed, DiskFull):
    """The catalog cannot grow, for the disk is full."""


class BuildFailed(OperatorError, code=ErrorCode.BUILD_INDEX_ERROR):
    """An index could not be built."""


class BuildStarved(BuildFailed, DiskFull):
    """There is no room on the disk for an index."""


class OutOfMemory(OperatorError, code=ErrorCode.OUT_OF_MEMORY):
    pass


class CacheFull(OperatorError, code=ErrorCode.CACHE_FAILED):
    """What is to be held in memory does not fit in `cache.cache_size`."""


class DatabaseClosed(OperatorError):
    def __init__(self, message: str = "The database is closed") -> None:
        super().__init__(message)


class ReadOnly(OperatorError):
    def __init__(self, message: str = "The database was opened read-only") -> None:
        super().__init__(message)
