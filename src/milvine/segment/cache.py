"""Open component files: each mapped once, shared by all readers, bounded in number."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterable, Set
from functools import cached_property, partial
from itertools import count
from typing import Any, Protocol
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from milvine.config.values import shown_size
from milvine.errors import CacheFull, CorruptFile, OperatorError, StorageFailed
from milvine.index.base import OpenIndex
from milvine.memory import within
from milvine.segment.layout import BLOCK, Footer, SectionSpan, check_body, read_footer, verify_block
from milvine.storage.forks import let_go_in_children
from milvine.storage.local import LocalStorage
from milvine.storage.open_files import files_to_hold, is_shortage
from milvine.types import Bytes, RowMask

_VIEWS_MAX = 1024
_ROOM = 2
"""The part of the memory that mapped files may be expected to keep, as a divisor."""
_ANY = 1 << 62
# Bytes whose pages one call asks for, so that no other thread waits long.
_TOUCHED_AT_ONCE = 16 << 20


class HasFiles(Protocol):
    """A reader of component files."""

    @property
    def needed(self) -> tuple[str, ...]: ...


class ComponentFile:
    """One mapped file: its sections by segment, and the kernels opened over it.

    With `again` it may be mapped a second time, for those who read a page here and a page there:
    `scattered`.
    """

    def __init__(
        self,
        name: str,
        data: Bytes,
        bad: dict[str, dict[int, str]] | None = None,
        again: Callable[[], Bytes] | None = None,
    ) -> None:
        self.name, self._data, self._again = name, data, again
        self._bad = {} if bad is None else bad
        self.footer: Footer = read_footer(name, data)
        check_body(name, data, self.footer)
        self._segments: dict[int, Footer] = {
            entry["id"]: entry for entry in self.footer["segments"]
        }
        self._sound = np.zeros(len(self.footer["crcs"]), bool)
        self._lock = threading.Lock()
        self._indexes: dict[int, OpenIndex] = {}
        self.held: dict[int, RowMask] = {}
        """The rows that the open index of a segment was built over, where those were not all."""
        self._views: dict[tuple[int, int, str, bool], NDArray[Any]] = {}
        self.used = 0

    @property
    def bytes(self) -> int:
        return len(self._data)

    def describe(self, segment_id: int) -> Footer:
        """The footer's entry of one segment.

        Raises:
            CorruptFile: the file does not hold that segment.
        """
        entry = self._segments.get(segment_id)
        if entry is None:
            raise CorruptFile.at(self.name, 0, f"it does not hold segment {segment_id}")
        return entry

    def section(self, segment_id: int, section: str, scattered: bool = False) -> Bytes | None:
        """The bytes of a section as a view, None when the segment has no such section."""
        span = self.describe(segment_id)["sections"].get(section)
        return None if span is None else self.between(span[0], span[0] + span[1], scattered)

    def span(self, segment_id: int, section: str) -> SectionSpan:
        """(offset, length) of a section that every segment of this kind has.

        Raises:
            CorruptFile: it is not there.
        """
        span = self.describe(segment_id)["sections"].get(section)
        if span is None:
            raise CorruptFile.at(self.name, 0, f"segment {segment_id} has no section {section}")
        return span[0], span[1]

    def between(self, start: int, end: int, scattered: bool = False) -> Bytes:
        """Bytes of the file as a view."""
        return (self._scattered if scattered else self._data)[start:end]

    @cached_property
    def _scattered(self) -> Bytes:
        return self._again() if self._again else self._data

    def array(self, segment_id: int, section: str, dtype: Any) -> NDArray[Any] | None:
        """A section as a 1-D array of `dtype`, a view."""
        data = self.section(segment_id, section)
        return None if data is None else data.view(dtype)

    def kept(
        self, key: tuple[int, int, str, bool], make: Callable[[], NDArray[Any]]
    ) -> NDArray[Any]:
        """A view of this file that `make` makes the first time: small searches ask for the same
        ones over and over.
        """
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= _VIEWS_MAX:
                self._views.clear()
            view = self._views[key] = make()
        return view

    def verify(self, segment_id: int, section: str) -> None:
        """Check the section's checksums, each block once per open file; no such section is fine.

        Raises:
            CorruptFile: names file and offset.
        """
        span = self.describe(segment_id)["sections"].get(section)
        if span is not None:
            self.verify_between(span[0], span[0] + span[1])

    def verify_between(self, start: int, end: int) -> None:
        """Check the blocks that cover these bytes, each once per open file.

        Raises:
            CorruptFile: names file and offset.
        """
        self.refuse_known(start, end)
        first, last = start // BLOCK, -(-end // BLOCK)
        if self._sound[first:last].all():
            return
        for number in range(first, last):
            if not self._sound[number]:
                self._verify(number)
                self._sound[number] = True

    def _verify(self, number: int) -> None:
        try:
            verify_block(self.name, self._data, self.footer, number)
        except CorruptFile as error:  # whoever reads it without checking is told, too
            self._bad[self.name] = {**self._bad.get(self.name, {}), number: str(error)}
            self._views.clear()
            raise

    def refuse_known(self, start: int, end: int) -> None:
        """Refuse bytes that are known to be damaged, without checking anything.

        Raises:
            CorruptFile: names file and offset.
        """
        if self._bad and (mine := self._bad.get(self.name)):
            for number in range(start // BLOCK, -(-end // BLOCK)):
                if number in mine:
                    raise CorruptFile(
                        f"{mine[number]}. What is not damaged can be saved: see `milvine repair`"
                    )

    def live_rows(self, segment_id: int, rows: int) -> RowMask | None:
        """The bitmap of a tombstone file, or of the rows that an index was built over; None where
        there is none.

        Raises:
            CorruptFile: it is damaged.
        """
        self.verify(segment_id, "live")
        bits = self.section(segment_id, "live")
        return (
            None if bits is None else RowMask(bits.copy(), rows, self.describe(segment_id)["dead"])
        )

    def load(self, segment_id: int, section: str) -> None:
        """Check a section and have all its pages in memory; no such section is fine.

        Raises:
            CorruptFile: names file and offset.
        """
        self.verify(segment_id, section)
        data = self.section(segment_id, section)
        # What was checked may be out again.
        for start in range(0, 0 if data is None else len(data), _TOUCHED_AT_ONCE):
            assert data is not None
            np.bitwise_or.reduce(data[start : start + _TOUCHED_AT_ONCE : mmap.PAGESIZE])

    def index(self, segment_id: int, open_index: Callable[[], OpenIndex]) -> OpenIndex:
        """The kernel opened over this file, made by `open_index` the first time."""
        found = self._indexes.get(segment_id)
        if found is None:
            with self._lock:
                found = self._indexes.get(segment_id)
                if found is None:
                    found = self._indexes[segment_id] = open_index()
        return found


class FileCache:
    """Component files by name. At most `files_max` stay open, and those reserved, and no more than
    half of what this process may open; the longest unused go first.

    A file that a search still reads stays mapped until that search lets go of it.

    Args:
        bytes_max: what files asked for ahead of searches may hold, and all open files where they
            are read into memory
            instead of mapped (`in_memory`). May be changed at any time.
    """

    def __init__(
        self,
        storage: LocalStorage,
        files_max: int,
        bytes_max: int = 1 << 62,
        in_memory: bool = False,
    ) -> None:
        self._storage, self._files_max = storage, max(files_max, 1)
        self.bytes_max, self._in_memory = bytes_max, in_memory
        self._reserved: dict[str, int] = {}
        self._open: dict[str, ComponentFile] = {}
        self._lock = threading.Lock()
        self._clock = count(1)
        self._readers: WeakSet[HasFiles] = WeakSet()
        self._bad: dict[str, dict[int, str]] = {}
        self.crowded = False
        """The open files have more bytes than may stay in memory: to read neighbours in advance
        pushes out others.
        """
        self.accesses = 0
        """How often a file was asked for."""
        self._left_out: dict[str, int] = {}
        self.damaged: dict[str, str] = {}
        """Index files found damaged, and how: not used again, and built anew by maintenance."""
        self.refused: dict[int, str] = {}
        """Segments of which some deletes are not known, for a file is damaged or missing, and how:
        not read again.
        """
        let_go_in_children(self)

    def forked(self) -> None:
        """Unmap: a child that lives on would keep the disk from taking back
        files that are removed."""
        self._lock = threading.Lock()
        self.clear()

    def get(self, name: str) -> ComponentFile:
        """The open file.

        Raises:
            StorageFailed: it is missing or unreadable.
            CorruptFile: its footer is damaged.
        """
        file = self._open.get(name)
        if file is None:
            with self._lock:
                file = self._open.get(name)
                if file is None:
                    again = None if self._in_memory else partial(self._read, name, scattered=True)
                    self._make_room()
                    file = ComponentFile(name, self._read(name), self._bad, again)
                    if self._in_memory:
                        self._evict_bytes(self.bytes_max - file.bytes)
                    self._open[name] = file
                    self._count()
        self.accesses = file.used = next(self._clock)
        return file

    def left_out(self, name: str, segment_id: int) -> int:
        """Deleted rows of a segment that its index file `name` does not hold; the file is not kept
        open for it.
        """
        count = self._left_out.get(name)
        if count is None:
            try:
                entry = ComponentFile(name, self._storage.read(name)).describe(segment_id)
            except OperatorError:  # whoever opens the index will say what is wrong with it
                return 0
            count = self._left_out[name] = int(entry.get("dead", 0))
        return count

    def refuse_blocks(self, name: str, bad: dict[int, str]) -> None:
        """These blocks of a rows file are damaged: by number, how. Whoever needs one gets an error
        from now on.
        """
        self._bad[name] = {**self._bad.get(name, {}), **bad}
        self.forget(name)  # its views were made when nothing was known

    def is_bad(self, name: str) -> bool:
        """Whether some block of a rows file is known to be damaged."""
        return name in self._bad

    def reserve(self, names: Iterable[str]) -> None:
        """Make room for files that are to be held in memory before anybody searches them.

        Raises:
            CacheFull: with those reserved before they are more than `bytes_max`; nothing is
                reserved then.
        """
        with self._lock:
            sizes = {name: self._storage.size(name) for name in names if name not in self._reserved}
            held = sum(self._reserved.values())
            if held + sum(sizes.values()) > self.bytes_max:
                raise CacheFull(
                    f"cache is full: {held} bytes are loaded, and {sum(sizes.values())} more would"
                    f" exceed cache.cache_size, which is {shown_size(self.bytes_max)}"
                )
            self._reserved.update(sizes)

    def register(self, reader: HasFiles) -> None:
        """`reader` may still open its files, for as long as somebody holds it."""
        with self._lock:
            self._readers.add(reader)

    def held(self) -> set[str]:
        """Names that some reader may still open."""
        with self._lock:
            return self._needed()

    def _needed(self) -> set[str]:
        return {name for reader in self._readers for name in reader.needed}

    def release_unnamed(self, named: Set[str]) -> bool:
        """Let go of all files that are not among `named` and that no reader needs; whether
        readers need some still."""
        with self._lock:
            unnamed = (self._open.keys() | self._reserved.keys()) - named
            needed = self._needed() & unnamed if unnamed else set()
            for name in unnamed - needed:
                self._drop(name)
        return bool(needed)

    def start_over(self, storage: LocalStorage) -> None:
        """Another folder is in the place of the one of before: nothing is known of its files."""
        with self._lock:
            self._storage = storage
            for known in (self._open, self._reserved, self._bad, self.damaged, self.refused):
                known.clear()

    def opened(self) -> tuple[str, ...]:
        """Names of the open files."""
        return tuple(self._open.copy())

    def forget(self, name: str) -> None:
        """Let go of a file that is about to be removed."""
        with self._lock:
            self._drop(name)

    def clear(self) -> None:
        with self._lock:
            self._open.clear()
            self._reserved.clear()

    def _read(self, name: str, scattered: bool = False) -> Bytes:
        """Where the program has too many files open, half of those here are closed for it."""
        try:
            return self._storage.read(name, scattered)
        except StorageFailed as error:
            if not (is_shortage(error.__cause__) and self._open):
                raise
            self._close_longest_unused(len(self._open) // 2)
            return self._storage.read(name, scattered)

    def _make_room(self) -> None:
        """For one more. A mapped file takes one of those that this process may open, and two where
        it is mapped twice: when there are too few of them, files asked for ahead of searches are
        closed as well, and opened again."""
        self._evict(self._files_max - 1)
        if not self._in_memory:
            allowed = files_to_hold()
            self._close_longest_unused((allowed // 2 if self.crowded else allowed) - 1)

    def _close_longest_unused(self, keep: int) -> None:
        excess = len(self._open) - keep
        if excess > 0:
            for file in self._longest_unused()[:excess]:
                self._open.pop(file.name, None)
            self._count()

    def _evict(self, keep: int) -> None:
        """Close the longest unused until `keep` are open, without counting what was asked for ahead
        of searches.
        """
        loose = [file for file in self._longest_unused() if file.name not in self._reserved]
        for file in loose[: max(len(loose) - keep, 0)]:
            self._drop(file.name)

    def _evict_bytes(self, keep: int) -> None:
        held = sum(file.bytes for file in self._open.values())
        for file in self._longest_unused():
            if held <= keep:
                return
            self._drop(file.name)
            held -= file.bytes

    def _longest_unused(self) -> list[ComponentFile]:
        """Those asked for ahead of searches come last."""
        return sorted(
            self._open.values(), key=lambda file: (file.name in self._reserved, file.used)
        )

    def _drop(self, name: str) -> None:
        self._left_out.pop(name, None)
        self._open.pop(name, None)
        self._reserved.pop(name, None)
        self._count()

    def _count(self) -> None:
        held = sum(file.bytes for file in tuple(self._open.values()))
        self.crowded = not self._in_memory and held > within(_ANY, _ROOM)
