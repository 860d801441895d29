"""Open component files: each mapped once, shared by all readers, bounded in number."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Set
from functools import partial
from itertools import count
from typing import Protocol
from weakref import WeakSet

from milvine.config.values import shown_size
from milvine.errors import CacheFull, OperatorError, StorageFailed
from milvine.index.base import OpenIndex
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


class Scannable:
    """What a scan of a segment, or of a run of neighbours, reads: views of mapped files, and what
    was opened over them.

    Attributes:
        ids: int64 (rows,).
        index: the built index; None where there is none, or none that can be used.
        vectors: (rows, width); None beside an index, which has its own.
        picked: the vectors for whoever reads a few of them, None where that is no matter.
        rows_file: the file that ids and vectors lie in.
        mask: the live rows that the index was held against.
    """

    __slots__ = ("ids", "index", "index_file", "mask", "picked", "rows_file", "vectors")

    def __init__(
        self,
        ids: Ids,
        rows_file: ComponentFile,
        index: OpenIndex | None,
        index_file: ComponentFile | None,
        vectors: Vectors | None,
        picked: Vectors | None,
        mask: RowMask | None,
    ) -> None:
        self.ids, self.rows_file, self.index, self.index_file = ids, rows_file, index, index_file
        self.vectors, self.picked, self.mask = vectors, picked, mask

    @property
    def files(self) -> tuple[ComponentFile, ...]:
        return (self.rows_file,) if self.index_file is None else (self.rows_file, self.index_file)


class FileCache:
    """Component files by name. At most `files_max` stay open, and those reserved, and no more than
    half of what this process may open; the longest unused go first.

    A file that a search still reads stays mapped until that search lets go of it.

    Args:
        memory: the plan of the database. Its `files` are what those asked for ahead of searches may
            hold, and all open files where they are read into memory instead of mapped.

    Attributes:
        bytes_max: those bytes. May be changed at any time.
    """

    def __init__(self, storage: Storage, files_max: int, memory: MemoryPlan = UNBOUNDED) -> None:
        self._storage, self._files_max = storage, max(files_max, 1)
        self.memory, self.bytes_max = memory, memory.files
        self._in_memory = not memory.mapped or storage.mapped_folder is None
        self._reserved: dict[str, int] = {}
        self._open: dict[str, ComponentFile] = {}
        self.scanned: dict[Hashable, Scannable] = {}
        """What scans read, by what they are of; only while the files that it lies in are open."""
        self._lock = threading.Lock()
        self.clock = count(1)
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
                    file = ComponentFile(
                        name, self._read(name), self._bad, again, self._storage.shown(name)
                    )
                    if self._in_memory:
                        self._evict_bytes(self.bytes_max - file.bytes)
                    self._open[name] = file
                    self._count()
        self.accesses = file.used = next(self.clock)
        return file

    def keep(self, key: Hashable, scannable: Scannable) -> None:
        """Keep what a scan reads for the next one, until one of its files is closed."""
        with self._lock:
            if all(self._open.get(file.name) is file for file in scannable.files):
                self.scanned[key] = scannable
                for file in scannable.files:
                    file.scanned.add(key)

    def damage(self, name: str, reason: str) -> None:
        """An index file is damaged: it is not used again."""
        self.damaged.setdefault(name, reason)
        with self._lock:
            file = self._open.get(name)
            if file is not None:
                self._forget_scanned(file)

    def refuse(self, segment_id: int, reason: str) -> None:
        """A segment must not be read: every reader is told `reason` from now on."""
        self.refused.setdefault(segment_id, reason)
        with self._lock:
            self._forget_all_scanned()

    def _forget_scanned(self, file: ComponentFile) -> None:
        for key in file.scanned:
            self.scanned.pop(key, None)
        file.scanned.clear()

    def _forget_all_scanned(self) -> None:
        self.scanned.clear()
        for file in tuple(self._open.values()):
            file.scanned.clear()

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

    def start_over(self, storage: Storage) -> None:
        """Another folder is in the place of the one of before: nothing is known of its files."""
        with self._lock:
            self._storage = storage
            self._forget_all_scanned()
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
            self._forget_all_scanned()
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
                self._forget_scanned(file)
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
        file = self._open.pop(name, None)
        if file is not None:
            self._forget_scanned(file)
        self._reserved.pop(name, None)
        self._count()

    def _count(self) -> None:
        held = sum(file.bytes for file in tuple(self._open.values()))
        crowded = not self._in_memory and held > self.memory.mapped_files
        if crowded is not self.crowded:  # what scans read is mapped in another way then
            self.crowded = crowded
            self._forget_all_scanned()
