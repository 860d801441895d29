"""The Python client. Users import it as `milvus`."""

from milvine import __version__
from milvine.client.aio import AsyncMilvus
from milvine.client.exceptions import (
    ConnectError,
    NotConnectError,
    ParamError,
    RepeatingConnectError,
    VersionError,
)
from milvine.client.legacy import DataType, RangeType
from milvine.client.milvus import Milvus
from milvine.client.prepare import Prepare
from milvine.client.status import Status
from milvine.types import IndexType, MetricType

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
