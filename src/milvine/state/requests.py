"""What callers ask of the writer: rows to insert, ids to delete."""

from __future__ import annotations

from dataclasses import dataclass, field

from milvine.state.collection import CollectionState
from milvine.types import Ids, Vectors
from milvine.waiting import Outcome


@dataclass(slots=True, eq=False)
class InsertRequest:
    """Rows for a partition. `vectors` (n, width) must be C-contiguous and must not change any more.

    With a `key` of 16 bytes it is stored once, however often it comes.
    """

    state: CollectionState
    tag: str
    vectors: Vectors
    ids: Ids | None
    key: bytes = b""
    answer: Outcome[Ids] = field(default_factory=Outcome)

    @property
    def bytes(self) -> int:
        return int(self.vectors.nbytes)


@dataclass(slots=True, eq=False)
class DeleteRequest:
    """Ids to delete from one partition, or from the whole collection when `tag` is empty."""

    state: CollectionState
    tag: str
    ids: Ids
    answer: Outcome[Ids] = field(default_factory=Outcome)

    @property
    def bytes(self) -> int:
        return int(self.ids.nbytes)


Request = InsertRequest | DeleteRequest
