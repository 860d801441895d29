"""`from milvus.client.types import ...`, as in pymilvus 1.1 and, for the last two, 0.2."""

from milvine.client.legacy import DataType, RangeType
from milvine.client.status import Status
from milvine.types import IndexType, MetricType

__all__ = ["Status", "IndexType", "MetricType", "DataType", "RangeType"]
