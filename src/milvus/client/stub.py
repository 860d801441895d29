"""`from milvus.client.stub import Milvus`, as in pymilvus 1.x."""

from milvine.client.milvus import Milvus

__all__ = ["Milvus"]
