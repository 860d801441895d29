"""How large the files are that a scan reads, looked up once per segment and state."""

from __future__ import annotations

from milvine.engine.database import Database
from milvine.errors import MilvineError
from milvine.types import Scanned

_KEPT_MAX = 50_000


class ScanSizes:
    """(collection, scan) -> bytes; 0 for segments that are gone. One thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[tuple[bool, tuple[int, ...]], int] = {}
        self._segments: dict[tuple[bool, int], int] = {}

    def __call__(self, collection: str, scanned: Scanned) -> int:
        key = scanned.kind == "exact", scanned.segments
        size = self._kept.get(key)
        if size is None:
            if len(self._kept) >= _KEPT_MAX:  # segments that are long gone
                self._kept.clear()
                self._segments.clear()
            size = self._kept[key] = self._sum(collection, *key)
        return size

    def _sum(self, collection: str, raw: bool, segments: tuple[int, ...]) -> int:
        if any((raw, segment) not in self._segments for segment in segments):
            self._look(collection)
        return sum(self._segments.setdefault((raw, segment), 0) for segment in segments)

    def _look(self, collection: str) -> None:
        try:
            stats = self._database.collection(collection).stats()
        except MilvineError:  # dropped, or the database is closed, since the search
            return
        for partition in stats.partitions:
            for segment in partition.segments:
                self._segments[segment.index_name == "IDMAP", int(segment.name)] = segment.data_size
