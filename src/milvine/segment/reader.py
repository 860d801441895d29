"""Reading one segment: its vectors, ids, rows by id, index and tombstones, all as views of mapped
files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milvine.catalog.model import SegmentRecord
from milvine.errors import CorruptFile, OperatorError
from milvine.index.base import OpenIndex, Precomputes, ReadsAhead, ScansRows
from milvine.index.finite import nonfinite_rows
from milvine.index.recall.table import Tuning
from milvine.index.registry import kernel
from milvine.index.registry import spec as index_spec
from milvine.segment.cache import FileCache, ScanInput
from milvine.segment.component import ComponentFile
from milvine.segment.layout import MEASURED
from milvine.types import Bytes, Collection, Ids, IndexType, RowMask, Vectors


class Segment:
    """An immutable segment. Cheap to make; files are opened when something is read.

    Rows are numbered from 0 in storage order. Every array is read-only.
    """

    __slots__ = ("__weakref__", "_files", "_nonfinite", "_nonfinite_count", "collection", "record")

    def __init__(self, record: SegmentRecord, collection: Collection, files: FileCache) -> None:
        self.record, self.collection, self._files = record, collection, files
        self._nonfinite_count: int | None = None
        self._nonfinite: Ids | None = None
        files.register(self)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of its files."""
        return self.record.files

    @property
    def rows(self) -> int:
        return self.record.rows

    @property
    def refused(self) -> str | None:
        """Why it must not be read: deletes of its rows are not known. None for a segment
        in order.
        """
        return self._files.refused.get(self.record.id)

    def refuse(self, reason: str) -> None:
        """From now on every reader is told `reason` instead of rows that may have been deleted."""
        self._files.refused.setdefault(self.record.id, reason)

    def check_known(self) -> None:
        """Whether anything is known that keeps its rows from being read; no file is read for it.

        Raises:
            CorruptFile: the segment is refused, or a block of its vectors is damaged.
        """
        if self.refused is not None:
            raise CorruptFile(self.refused)
        if self._files.is_bad(self.record.rows_file):
            file = self._rows()
            file.refuse_known(*self._reach(file, self, "vectors"))

    def flat_image(self) -> Bytes:
        """The faiss Flat image of the vectors, uint8; only segments large enough for an index have
        one.
        """
        file = self._rows()
        image = file.section(self.record.id, "flat", self._files.crowded)
        if image is None:
            raise file.damaged(0, f"segment {self.record.id} has no Flat image")
        file.refuse_known(*self._reach(file, self, "vectors"))
        return image

    def _rows(self) -> ComponentFile:
        if self.record.id in self._files.refused:
            raise CorruptFile(self._files.refused[self.record.id])
        return self._files.get(self.record.rows_file)

    def vectors(self) -> Vectors:
        """All vectors, shape (rows, width)."""
        return self.vectors_until(self)

    def ids(self) -> Ids:
        """The ids in storage order, shape (rows,)."""
        return self.ids_until(self)

    def verify_vectors(self, first: int, last: int) -> None:
        """Check the vectors of rows `first` to `last` against their checksums, each block once per
        open file.

        Whoever copies them does, so that damage is never copied into a new file.

        Raises:
            CorruptFile: names file and offset.
        """
        file, size = self._rows(), self.collection.row_bytes
        start = file.span(self.record.id, "vectors")[0]
        file.verify_between(start + first * size, start + (last + 1) * size)

    def nonfinite(self, mask: RowMask | None) -> int:
        """How many of the live rows no search finds; 0 in files of before that does not say.

        The file was asked once, and the rows are looked at where some of both kinds are there.

        Raises:
            CorruptFile, StorageFailed: the file cannot be read.
        """
        if self._nonfinite_count is None:
            entry = self._files.get(self.record.rows_file).describe(self.record.id)
            self._nonfinite_count = int(entry.get("nonfinite", 0))
        if not self._nonfinite_count or mask is None or not mask.dead:
            return self._nonfinite_count
        if self._nonfinite is None:
            self._nonfinite = nonfinite_rows(self.vectors())
        return int(np.count_nonzero(mask.contains(self._nonfinite)))

    def follows(self, other: Segment) -> bool:
        """Whether vectors and ids begin where those of `other` end, in the same file."""
        refused = self._files.refused
        if (
            self.record.rows_file != other.record.rows_file
            or {self.record.id, other.record.id} & refused.keys()
        ):
            return False
        file = self._rows()
        return all(
            file.span(self.record.id, section)[0] == sum(file.span(other.record.id, section))
            for section in ("vectors", "ids")
        )

    def vectors_until(self, last: Segment) -> Vectors:
        """The vectors of neighbours, from this segment to `last`, as one array (rows, width)."""
        return self._vectors(last, False)

    def picked_until(self, last: Segment) -> Vectors | None:
        """The same for a reader of a few rows here and there; None where memory is not short."""
        return self._vectors(last, True) if self._files.crowded else None

    def _vectors(self, last: Segment, scattered: bool) -> Vectors:
        file = self._rows()

        def view() -> Vectors:
            start, end = self._reach(file, last, "vectors")
            file.refuse_known(start, end)
            payload = file.between(start, end, scattered)
            return payload.view(self.collection.dtype).reshape(-1, self.collection.width)

        return file.kept((self.record.id, last.record.id, "vectors", scattered), view)

    def ids_until(self, last: Segment) -> Ids:
        """The ids of neighbours, from this segment to `last`, as one array (rows,)."""
        file, scattered = self._rows(), self._files.crowded

        def view() -> Ids:
            start, end = self._reach(file, last, "ids")
            file.verify_between(start, end)
            return file.between(start, end, scattered).view(np.int64)

        return file.kept((self.record.id, last.record.id, "ids", scattered), view)

    def _reach(self, file: ComponentFile, last: Segment, section: str) -> tuple[int, int]:
        return file.span(self.record.id, section)[0], sum(file.span(last.record.id, section))

    def lsns(self) -> NDArray[np.int64]:
        """When each row was inserted, int64 (rows,)."""
        file = self._rows()
        for section in ("lsn_starts", "lsns"):
            file.verify(self.record.id, section)
        starts = file.array(self.record.id, "lsn_starts", np.uint32)
        values = file.array(self.record.id, "lsns", np.int64)
        assert starts is not None and values is not None
        counts = np.diff(np.append(starts.astype(np.int64), self.rows))
        if (counts < 0).any():
            raise file.damaged(
                file.span(self.record.id, "lsn_starts")[0], "the LSNs are of other rows"
            )
        return np.repeat(values, counts)

    def find(self, ids: Ids) -> NDArray[np.int64]:
        """The rows that carry any of `ids` (ascending, without repeats): row numbers, any order."""
        first, last, order = self._spans(ids)
        counts = last - first
        total = int(counts.sum())
        if not total:
            return np.empty(0, np.int64)
        places = np.repeat(first - np.r_[0, np.cumsum(counts)[:-1]], counts) + np.arange(total)
        return places if order is None else order[places].astype(np.int64)

    def _spans(
        self, ids: Ids
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32] | None]:
        file = self._files.get(self.record.rows_file)
        low, high = file.describe(self.record.id)["id_range"]
        if not len(ids) or ids[-1] < low or ids[0] > high:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, None
        self._rows()
        file.verify(self.record.id, "order")
        order = file.array(self.record.id, "order", np.uint32)
        stored = self.ids()
        return (
            np.searchsorted(stored, ids, "left", sorter=order),
            np.searchsorted(stored, ids, "right", sorter=order),
            order,
        )

    @property
    def indexed(self) -> bool:
        """Whether there is a built index that is not known to be damaged."""
        name = self.record.index_file
        if name is None or name in self._files.damaged:
            return False
        # Kernels may share the rows: a scan finds out whether theirs are the damaged ones.
        return not self._files.is_bad(self.record.rows_file)

    def index(self, live: RowMask | None) -> OpenIndex | None:
        """The built index, verified before its first use; None when there is none or it cannot be
        used.

        `live`: the rows that a search may find (None: all). An index that leaves one of them out is
        not used and is built anew: deletes never come undone, so it belongs to another moment of
        the segment.
        """
        name, files = self.record.index_file, self._files
        if name is None or not self.indexed:
            return None
        try:
            file = files.get(name)
            index = file.index(self.record.id, self._open_index)
        except OperatorError as error:  # damaged, missing, of a newer format: only a cache
            files.damaged.setdefault(name, str(error))
            return None
        held = file.held.get(self.record.id)
        if held is not None and not held.covers(live):
            files.damaged.setdefault(
                name, f"{name}: it leaves out rows of segment {self.record.id} that are not deleted"
            )
            return None
        return index

    def open_index_file(self) -> None:
        """So that a file that is missing or cut off counts as damaged; the index is not read."""
        name = self.record.index_file
        if name is not None and self.indexed:
            try:
                self._files.get(name)
            except OperatorError as error:
                self._files.damaged.setdefault(name, str(error))

    @property
    def files(self) -> FileCache:
        """Where its files are open."""
        return self._files

    def scan_input(
        self, last: Segment, mask: RowMask | None, exact: bool
    ) -> tuple[ComponentFile, ScanInput]:
        """What a scan reads of the neighbours from this segment to `last`, and the file that it is
        to be kept with; of a segment that stands alone its index, unless the scan is to be `exact`.

        Raises:
            CorruptFile, StorageFailed: a file is damaged or missing.
        """
        files = self._files
        crowded = files.crowded
        index = None if exact or last is not self else self.index(mask)
        ids, rows_file = self.ids_until(last), self._rows()
        if index is None:
            vectors, picked = self.vectors_until(last), self.picked_until(last)
            return rows_file, ScanInput(ids, None, None, vectors, picked, mask, crowded)
        assert self.record.index_file is not None
        index_file = files.get(self.record.index_file)
        tuning = self.tuning(mask)
        return index_file, ScanInput(ids, index, rows_file, None, None, mask, crowded, tuning)

    def tuning(self, mask: RowMask | None) -> Tuning | None:
        """What its index takes for a recall, of the live rows; None without an index, or where its
        type knows none.

        Raises:
            CorruptFile, StorageFailed: the file of the index cannot be read.
        """
        name = self.record.index_file
        breadth = index_spec(self.record.index.type, self.collection.metric.is_binary).breadth
        if name is None or breadth is None:
            return None
        stored = self._files.get(name).describe(self.record.id).get(MEASURED)
        return Tuning(stored, breadth, self.rows if mask is None else mask.live)

    def left_out(self) -> int:
        """Deleted rows that its index does not hold; 0 without an index."""
        name = self.record.index_file
        return 0 if name is None else self._files.left_out(name, self.record.id)

    def _open_index(self) -> OpenIndex:
        assert self.record.index_file is not None
        file = self._files.get(self.record.index_file)
        file.verify(self.record.id, "index")
        crowded = self._files.crowded
        # Codes are read from end to end.
        scattered = crowded and self.record.index.type is not IndexType.FLAT
        data = file.section(self.record.id, "index", scattered)
        if data is None:
            raise file.damaged(0, "it holds no index")
        held = file.live_rows(self.record.id, self.rows)
        if held is not None:
            file.held[self.record.id] = held
        metric = self.collection.metric
        index = kernel(self.record.index.type, metric.is_binary).open(
            data, self.flat_image(), metric
        )
        if isinstance(index, Precomputes):
            index.precompute(self._files.memory.tables)
        if crowded and isinstance(index, ReadsAhead):
            index.read_ahead(self._files.memory.prefetch)
        if crowded and isinstance(index, ScansRows):
            index.scan_rows_in(self.vectors())
        return index

    def tombstones(self) -> RowMask | None:
        """The live rows as the tombstone file has them; None when no row is deleted.

        Raises:
            CorruptFile, StorageFailed: the file is damaged or missing.
        """
        if self.record.tombstone_file is None:
            return None
        file = self._files.get(self.record.tombstone_file)
        mask = file.live_rows(self.record.id, self.rows)
        if mask is None:
            raise file.damaged(0, "it holds no bitmap")
        return mask
