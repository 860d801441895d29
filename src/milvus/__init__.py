"""The name that programs written for Milvus 1.x import: `from milvus import Milvus, IndexType,
MetricType, Status`.
"""

from milvine.client import (
    AsyncMilvus,
    ConnectError,
    DataType,
    IndexType,
    MetricType,
    Milvus,
    NotConnectError,
    ParamError,
    Prepare,
    RangeType,
    RepeatingConnectError,
    Status,
    VersionError,
    __version__,
)

__all__ = [
    "Milvus",
    "AsyncMilvus",
    "Prepare",
    "Status",
    "IndexType",
    "MetricType",
    "ParamError",
    "ConnectError",
    "NotConnectError",
    "RepeatingConnectError",
    "VersionError",
    "__version__",
    "DataType",
    "RangeType",
]
