"""The name that programs written for Milvus 1.x import: `from milvus import Milvus, IndexType, MetricType, Status`."""

from milvine.client import (
    ConnectError,
    IndexType,
    MetricType,
    Milvus,
    NotConnectError,
    ParamError,
    RepeatingConnectError,
    Status,
    VersionError,
    __version__,
)

__all__ = [
    "Milvus",
    "Status",
    "IndexType",
    "MetricType",
    "ParamError",
    "ConnectError",
    "NotConnectError",
    "RepeatingConnectError",
    "VersionError",
    "__version__",
]
