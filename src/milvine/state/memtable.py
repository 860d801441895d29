"""Rows that are logged but not flushed. The writer thread owns it; readers get views whose length
is the snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from milvine.index.finite import NonfiniteRows
from milvine.segment.version import TailBlock
from milvine.storage.swapped import SwappedMemory
from milvine.types import Collection, Ids, RowMask, Vectors

_BLOCK_BYTES = 4 << 20
_BLOCK_ROWS_MIN = 256
_OWN_BLOCK_BYTES = 1 << 20
"""A batch of at least this size becomes a block of its own, without being copied."""


class Block:
    """Append-only buffers of a fixed capacity. `length` rows are in use; those before it never
    change.
    """

    def __init__(self, vectors: Vectors, ids: Ids, length: int) -> None:
        capacity = len(ids)
        self.vectors, self.ids, self.length = vectors, ids, length
        self.partitions = np.zeros(capacity, np.int64)
        self.lsns = np.zeros(capacity, np.int64)
        self.dead: NDArray[np.bool_] | None = None
        self.nonfinite_rows = NonfiniteRows()

    @classmethod
    def empty(cls, width: int, dtype: np.dtype[np.generic], memory: SwappedMemory | None) -> Block:
        rows = max(_BLOCK_BYTES // max(width * dtype.itemsize, 1), _BLOCK_ROWS_MIN)
        vectors = memory.empty((rows, width), dtype) if memory else np.empty((rows, width), dtype)
        return cls(vectors, np.empty(rows, np.int64), 0)

    @property
    def free_rows(self) -> int:
        return len(self.ids) - self.length

    def stamp(self, start: int, partition_id: int, lsn: int) -> None:
        self.partitions[start : self.length] = partition_id
        self.lsns[start : self.length] = lsn

    def append(self, vectors: Vectors, ids: Ids) -> int:
        """Copy rows in; returns where they begin."""
        start, end = self.length, self.length + len(ids)
        self.vectors[start:end], self.ids[start:end] = vectors, ids
        self.length = end
        return start

    def kill(self, which: NDArray[np.bool_]) -> int:
        """Mark rows (bool, shape (length,)) dead; returns how many were live."""
        if self.dead is None:
            self.dead = np.zeros(len(self.ids), bool)
        dead = self.dead[: self.length]
        killed = int(np.count_nonzero(which & ~dead))
        dead |= which
        return killed

    def live(self) -> NDArray[np.bool_]:
        """bool, shape (length,): a copy."""
        return np.ones(self.length, bool) if self.dead is None else ~self.dead[: self.length]

    def view(self) -> TailBlock:
        n = self.length
        mask = None if self.dead is None else RowMask.from_bool(self.live())
        return TailBlock(
            self.vectors[:n], self.ids[:n], self.partitions[:n], mask, self.nonfinite_rows
        )


class TailBytes:
    """Bytes of the unflushed rows of all collections together: `count` never
    has to look at each."""

    def __init__(self) -> None:
        self.count = 0


class Memtable:
    """The unflushed rows of one collection, all partitions, oldest first. With `memory`, new ones
    are put there.
    """

    memory: SwappedMemory | None = None
    _total: TailBytes | None = None

    def __init__(self, collection: Collection) -> None:
        self._width, self._dtype, self._row_bytes = (
            collection.width,
            collection.dtype,
            collection.row_bytes,
        )
        self.blocks: list[Block] = []
        self._sealed = 0

    @property
    def rows(self) -> int:
        return sum(block.length for block in self.blocks)

    @property
    def bytes(self) -> int:
        return self._bytes_of(self.blocks)

    def _bytes_of(self, blocks: Sequence[Block]) -> int:
        return sum(block.length for block in blocks) * (self._row_bytes + 24)

    def count_in(self, total: TailBytes) -> None:
        """Have what is here and what will be here counted in `total`."""
        self._total = total
        total.count += self.bytes

    def append(self, partition_id: int, ids: Ids, vectors: Vectors, lsn: int) -> None:
        """Add a batch; a large one is kept as it is, not copied."""
        if self._total:
            self._total.count += len(ids) * (self._row_bytes + 24)
        if vectors.nbytes >= _OWN_BLOCK_BYTES:
            if self.memory:
                copy = self.memory.empty(vectors.shape, self._dtype)
                copy[:] = vectors
                vectors = copy
            block = Block(vectors, ids, len(ids))
            block.stamp(0, partition_id, lsn)
            self.blocks.append(block)
            return
        last = self.blocks[-1] if len(self.blocks) > self._sealed else None
        if last is None or last.free_rows < len(ids):
            last = Block.empty(self._width, self._dtype, self.memory)
            self.blocks.append(last)
        start = last.append(vectors, ids)
        last.stamp(start, partition_id, lsn)

    def delete(self, ids: Ids, partition_id: int) -> int:
        """Kill every row with one of `ids` (in one partition, or anywhere when 0); returns how
        many.
        """
        killed = 0
        for block in self.blocks:
            which = np.isin(block.ids[: block.length], ids)
            if partition_id:
                which &= block.partitions[: block.length] == partition_id
            if which.any():
                killed += block.kill(which)
        return killed

    def drop_partition(self, partition_id: int) -> None:
        for block in self.blocks:
            block.kill(block.partitions[: block.length] == partition_id)

    def seal(self) -> list[Block]:
        """All blocks; later rows go to new ones, so that these can be flushed."""
        self._sealed = len(self.blocks)
        return list(self.blocks)

    def release(self, count: int) -> None:
        """The oldest `count` blocks are flushed."""
        if self._total:
            self._total.count -= self._bytes_of(self.blocks[:count])
        del self.blocks[:count]
        self._sealed = max(self._sealed - count, 0)

    def tail(self) -> tuple[TailBlock, ...]:
        return tuple(block.view() for block in self.blocks if block.length)
