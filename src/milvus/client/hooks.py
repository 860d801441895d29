"""`from milvus.client.hooks import BaseSearchHook`, as in pymilvus 1.x."""

from milvine.client.legacy import AbstractHook, BaseSearchHook

__all__ = ["AbstractHook", "BaseSearchHook"]
