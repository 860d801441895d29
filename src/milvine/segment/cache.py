"""Open component files: each mapped once, shared by all readers, bounded in number."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Set
from functools import partial
from itertools import count
from typing import Protocol
from weakref import WeakSet

from milvine.config.values import shown_size
from milvine.errors import CacheFull, OperatorError, StorageFailed
from milvine.index.base import OpenIndex
from milvine.index.recall.table import Tuning
from milvine.memory_plan import UNBOUNDED, MemoryPlan
from milvine.segment.component import ComponentFile
from milvine.storage.base import Storage
from milvine.storage.forks import let_go_in_children
from milvine.storage.open_files import files_to_hold, is_shortage
from milvine.types import Bytes, Ids, RowMask, Vectors


class HasFiles(Protocol):
    """A reader of component files."""

    @property
    def needed(self) -> tuple[str, ...]: ...


class ScanInput:
    """What a scan of a segment, or of a run of neighbours, reads: views of mapped files, and what
    was opened over them. The file that keeps it (`ComponentFile.scan_inputs`) takes it along when
    it is closed, so it must not hold that file.

    Attributes:
        ids: int64 (rows,).
        index: the built index; None where there is none, or none that can be used.
        vectors: (rows, width); None beside an index, which has its own.
        picked: the vectors for whoever reads a few of them; None unless memory is short.
        rows_file: of an index, which the file of the index keeps; else None.
        mask: the live rows that the index was held against.
        crowded: whether memory was short when it was made: files are mapped in another way then.
        tuning: what the index takes for a recall; None without one, or where its type knows none.
    """

    __slots__ = (
        "__weakref__",
        "crowded",
        "ids",
        "index",
        "mask",
        "picked",
        "rows_file",
        "tuning",
        "vectors",
    )

    def __init__(
        self,
        ids: Ids,
        index: OpenIndex | None,
        rows_file: ComponentFile | None,
        vectors: Vectors | None,
        picked: Vectors | None,
        mask: RowMask | None,
        crowded: bool,
        tuning: Tuning | None = None,
    ) -> None:
        self.ids, self.index, self.rows_file = ids, index, rows_file
        self.vectors, self.picked, self.mask, self.crowded = vectors, picked, mask, crowded
        self.tuning = tuning


class FileCache:
    """Component files by name. At most `files_max` stay open, and those reserved, and no more than
    half of what this process may open; the longest unused go first.

    A file that a search still reads stays mapped until that search lets go of it.

    Args:
        memory: the plan of the database. Its `files` are what preloaded ones may
            hold, and all open files where they are read into memory instead of mapped.

    Attributes:
        bytes_max: those bytes. May be changed at any time.
    """

    def __init__(self, storage: Storage, files_max: int, memory: MemoryPlan = UNBOUNDED) -> None:
        self._storage, self._files_max = storage, max(files_max, 1)
        self.memory, self.bytes_max = memory, memory.files
        self._in_memory = not memory.mapped or storage.mapped_folder is None
        self._reserved: dict[str, int] = {}
        self.open_files: dict[str, ComponentFile] = {}
        """By name. Changed by this cache only."""
        self._lock = threading.Lock()
        self.clock = count(1)
        self._readers: WeakSet[HasFiles] = WeakSet()
        self.bad: dict[str, dict[int, str]] = {}
        """Blocks of rows files that are known to be damaged: by name and number, how."""
        self.crowded = False
        """The open files have more bytes than may stay in memory: to read neighbours in advance
        pushes out others.
        """
        self.accesses = 0
        """Grows with each file that is asked for: the time of `ComponentFile.used`."""
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
        file = self.open_files.get(name)
        if file is None:
            with self._lock:
                file = self.open_files.get(name)
                if file is None:
                    again = None if self._in_memory else partial(self._read, name, scattered=True)
                    self._make_room()
                    file = ComponentFile(
                        name, self._read(name), self.bad, again, self._storage.shown(name)
                    )
                    if self._in_memory:
                        self._evict_bytes(self.bytes_max - file.bytes)
                    self.open_files[name] = file
                    self._count()
        self.accesses = file.used = next(self.clock)
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
        self.bad[name] = {**self.bad.get(name, {}), **bad}
        self.forget(name)  # its views were made when nothing was known

    def is_bad(self, name: str) -> bool:
        """Whether some block of a rows file is known to be damaged."""
        return name in self.bad

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
            unnamed = (self.open_files.keys() | self._reserved.keys()) - named
            needed = self._needed() & unnamed if unnamed else set()
            for name in unnamed - needed:
                self._drop(name)
        return bool(needed)

    def start_over(self, storage: Storage) -> None:
        """Another folder is in the place of the one of before: nothing is known of its files."""
        with self._lock:
            self._storage = storage
            for known in (
                self.open_files,
                self._reserved,
                self.bad,
                self._left_out,
                self.damaged,
                self.refused,
            ):
                known.clear()

    def opened(self) -> tuple[str, ...]:
        """Names of the open files."""
        return tuple(self.open_files.copy())

    def forget(self, name: str) -> None:
        """Let go of a file that is about to be removed."""
        with self._lock:
            self._drop(name)

    def clear(self) -> None:
        with self._lock:
            self.open_files.clear()
            self._reserved.clear()

    def _read(self, name: str, scattered: bool = False) -> Bytes:
        """Where the program has too many files open, half of those here are closed for it."""
        try:
            return self._storage.read(name, scattered)
        except StorageFailed as error:
            if not (is_shortage(error.__cause__) and self.open_files):
                raise
            self._close_longest_unused(len(self.open_files) // 2)
            return self._storage.read(name, scattered)

    def _make_room(self) -> None:
        """For one more. A mapped file takes one of those that this process may open, and two where
        it is mapped twice: when there are too few of them, preloaded files are
        closed as well, and opened again."""
        self._evict(self._files_max - 1)
        if not self._in_memory:
            allowed = files_to_hold()
            self._close_longest_unused((allowed // 2 if self.crowded else allowed) - 1)

    def _close_longest_unused(self, keep: int) -> None:
        excess = len(self.open_files) - keep
        if excess > 0:
            for file in self._longest_unused()[:excess]:
                self.open_files.pop(file.name, None)
            self._count()

    def _evict(self, keep: int) -> None:
        """Close the longest unused until `keep` are open, without counting preloaded ones."""
        loose = [file for file in self._longest_unused() if file.name not in self._reserved]
        for file in loose[: max(len(loose) - keep, 0)]:
            self._drop(file.name)

    def _evict_bytes(self, keep: int) -> None:
        held = sum(file.bytes for file in self.open_files.values())
        for file in self._longest_unused():
            if held <= keep:
                return
            self._drop(file.name)
            held -= file.bytes

    def _longest_unused(self) -> list[ComponentFile]:
        """Preloaded ones come last."""
        return sorted(
            self.open_files.values(), key=lambda file: (file.name in self._reserved, file.used)
        )

    def _drop(self, name: str) -> None:
        self._left_out.pop(name, None)
        self.open_files.pop(name, None)
        self._reserved.pop(name, None)
        self._count()

    def _count(self) -> None:
        held = sum(file.bytes for file in tuple(self.open_files.values()))
        self.crowded = not self._in_memory and held > self.memory.mapped_files
