"""`from milvus.client.prepare import Prepare`, as in pymilvus 1.x."""

from milvine.client.prepare import Prepare

__all__ = ["Prepare"]
