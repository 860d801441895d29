"""`from milvus.client.abstract import ...`, as in pymilvus 1.x: what calls return."""

from milvine.client.results import (
    CollectionSchema,
    IndexParam,
    PartitionParam,
    QueryResult,
    RowQueryResult,
    TopKQueryResult,
)

TopKQueryResult2 = TopKQueryResult
"""What 1.x makes of a search over HTTP; here there is one class."""

__all__ = [
    "CollectionSchema",
    "IndexParam",
    "PartitionParam",
    "QueryResult",
    "RowQueryResult",
    "TopKQueryResult",
    "TopKQueryResult2",
]
