"""Bringing segments into memory before somebody needs them, and letting go of them."""

from __future__ import annotations

from collections.abc import Iterable

from milvine.segment.cache import FileCache
from milvine.segment.reader import Segment
from milvine.segment.version import LiveSegment

_READ_BY_SEARCHES = ("vectors", "ids")


def load(files: FileCache, each: LiveSegment) -> None:
    """Open the segment's files and its index, check them and read every page that a search may
    touch.

    Raises:
        CorruptFile, StorageFailed: names the file; a damaged index is no reason, it is made anew.
        CacheFull: there is no room for its files.
    """
    segment, record = each.segment, each.segment.record
    files.reserve(name for name in (record.rows_file, record.index_file) if name)
    for section in _READ_BY_SEARCHES:
        files.get(record.rows_file).load(record.id, section)
    if record.index_file and segment.index(each.mask) is not None:
        files.get(record.index_file).load(record.id, "index")


def release(files: FileCache, segments: Iterable[Segment]) -> None:
    """Close their files and indexes, which gives the memory back once nobody reads them any more.

    They are opened again when somebody needs them, as are other segments that lie in the same
    files.
    """
    for name in {name for segment in segments for name in segment.needed}:
        files.forget(name)
