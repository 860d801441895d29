"""A database as the harnesses use it: each operation takes the name of its collection, as those of
the model (`testing/model.py: Store`), so that one script runs both.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from milvine.engine.collection import EVERYWHERE
from milvine.engine.database import Database
from milvine.engine.stats import CollectionStats
from milvine.types import Collection, Hits, Ids, IndexSetting, Query, Vectors


class DatabaseByName(Database):
    """The operations of `OpenCollection`, which is asked for anew each time."""

    def drop_collection(self, name: str) -> None:
        self.collection(name).drop()

    def definition(self, name: str) -> Collection:
        return self.collection(name).definition

    def count(self, name: str) -> int:
        return self.collection(name).count()

    def stats(self, name: str) -> CollectionStats:
        return self.collection(name).stats()

    def create_partition(self, name: str, tag: str) -> None:
        self.collection(name).create_partition(tag)

    def drop_partition(self, name: str, tag: str) -> None:
        self.collection(name).drop_partition(tag)

    def has_partition(self, name: str, tag: str) -> bool:
        return self.collection(name).has_partition(tag)

    def partitions(self, name: str) -> list[str]:
        return self.collection(name).partitions()

    def create_index(self, name: str, index: IndexSetting) -> None:
        self.collection(name).create_index(index)

    def drop_index(self, name: str) -> None:
        self.collection(name).drop_index()

    def insert(
        self, name: str, vectors: Vectors, ids: Ids | None, tag: str = "", key: str = ""
    ) -> Ids:
        return self.collection(name).insert(vectors, ids, tag, key)

    def delete(self, name: str, ids: Ids, tag: str = "") -> None:
        self.collection(name).delete(ids, tag)

    def get(
        self, name: str, ids: Ids, tags: Sequence[str] = ()
    ) -> tuple[NDArray[np.bool_], Vectors]:
        return self.collection(name).get(ids, tags)

    def segment_ids(self, name: str, segment: str) -> Ids:
        return self.collection(name).segment_ids(segment)

    def search(self, name: str, query: Query, segments: Set[int] = EVERYWHERE) -> Hits:
        return self.collection(name).search(*query, segments=segments)

    def search_by_id(
        self, name: str, ids: Ids, k: int, params: object = None, tags: Sequence[str] = ()
    ) -> Hits:
        return self.collection(name).search_by_id(ids, k, params, tags)

    def compact(self, name: str) -> None:
        self.collection(name).compact()
