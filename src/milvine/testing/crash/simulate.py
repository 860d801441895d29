"""What a folder may look like after the power went out at any point of a trace.

The model of the disk is strict, as POSIX allows it to be:

- The bytes and the size of a file are durable up to its last finished fsync or fdatasync; what was
  written before that
  sync began is covered, what was written while it ran is not.
- A name (created, renamed, linked, removed) is durable once its folder was synced. Syncing a file
  does not save its
  name, although ext4 and xfs would; SQLite syncs its folder too and holds up under this rule.
  `names_follow_sync=True` is the lenient rule.
- Of what is not durable, any part may have happened: later writes without earlier ones, single
  sectors of a write, a
  size without the bytes, a removal without the rename before it. A rename itself is atomic.

`-shm` files of SQLite hold no truth and are never there after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

import numpy as np

from milvine.testing.crash.trace import Op, Record


class Mode(Enum):
    """What becomes of the changes that were not synced."""

    FORGET = "forget"  # none of them happened
    KEEP = "keep"  # all of them did, as after kill -9
    PREFIX = "prefix"  # of each file and folder the first few, the last of these torn
    REORDER = "reorder"  # whole changes, any subset
    TORN = "torn"  # sectors or pages, any subset


@dataclass(frozen=True, slots=True)
class Change:
    """A write of `data` at `offset`, or without data a new size."""

    offset: int
    data: bytes | None
    time: int


@dataclass(frozen=True, slots=True, eq=False)
class Renaming:
    """Names that change together: (folder, name, what it names from now on or None)."""

    parts: tuple[tuple[Folder, str, Node | None], ...]
    time: int


@dataclass(eq=False)
class File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def sync(self, until: int) -> None:
        for change in self.pending:
            if change.time < until:
                _apply(self.durable, change)
        self.pending = [change for change in self.pending if change.time >= until]

    def live(self) -> bytearray:
        content = bytearray(self.durable)
        for change in self.pending:
            _apply(content, change)
        return content


@dataclass(eq=False)
class Folder:
    durable: dict[str, Node] = field(default_factory=dict)
    live: dict[str, Node] = field(default_factory=dict)
    pending: list[Renaming] = field(default_factory=list)

    def sync(self, until: int) -> None:
        for renaming in self.pending:
            if renaming.time < until:
                self.rename(self.durable, renaming)
        self.pending = [renaming for renaming in self.pending if renaming.time >= until]

    def rename(self, names: dict[str, Node], renaming: Renaming) -> None:
        for folder, name, node in renaming.parts:
            if folder is self and node is None:
                names.pop(name, None)
            elif folder is self and node is not None:
                names[name] = node


Node: TypeAlias = File | Folder


def _apply(content: bytearray, change: Change) -> None:
    if change.data is None:
        del content[change.offset :]
    end = change.offset + len(change.data or b"")
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if change.data:
        content[change.offset : end] = change.data


class Disk:
    """A folder as the process sees it and as the disk has it, moved on record by record."""

    def __init__(self, names_follow_sync: bool = False, lies: str | None = None) -> None:
        self.root = Folder()
        self.time = 0
        self._names_follow_sync = names_follow_sync
        # A pattern of paths whose syncs do nothing, to show that the harness notices.
        self._lies = lies
        self._syncing: dict[int, tuple[Node, int]] = {}

    @classmethod
    def load(cls, folder: Path, names_follow_sync: bool = False, lies: str | None = None) -> Disk:
        """Everything in `folder`, durable."""
        disk = cls(names_follow_sync, lies)
        _load(folder, disk.root)
        return disk

    def apply(self, record: Record) -> None:
        """Raises KeyError when the record speaks of a file that no earlier record made."""
        self.time += 1
        if record.op in (Op.WRITE, Op.TRUNCATE):
            file = self._find(record.path)
            assert isinstance(file, File)
            file.pending.append(
                Change(record.number, record.data if record.op is Op.WRITE else None, self.time)
            )
        elif record.op is Op.SYNC_BEGIN:
            self._syncing[record.number] = (self._find(record.path), self.time)
        elif record.op is Op.SYNC_END:
            self._sync(record, *self._syncing.pop(record.number))
        elif record.op is not Op.ACK:
            self._name(record)

    def _sync(self, record: Record, node: Node, until: int) -> None:
        if self._lies is not None and fnmatchcase(record.path, self._lies):
            return
        node.sync(until)
        if self._names_follow_sync and record.path:
            self._parent(record.path)[0].sync(until)

    def _name(self, record: Record) -> None:
        folder, name = self._parent(record.path)
        if record.op is Op.CREATE:
            parts: tuple[tuple[Folder, str, Node | None], ...] = ((folder, name, File()),)
        elif record.op is Op.MKDIR:
            parts = ((folder, name, Folder()),)
        elif record.op in (Op.RENAME, Op.LINK):
            parts = ((*self._parent(record.other), folder.live[name]),)
            parts = ((folder, name, None), *parts) if record.op is Op.RENAME else parts
        else:
            parts = ((folder, name, None),)
        renaming = Renaming(parts, self.time)
        for owner in {id(part[0]): part[0] for part in parts}.values():
            owner.pending.append(renaming)
            owner.rename(owner.live, renaming)

    def _parent(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        assert isinstance(folder, Folder)
        return folder, name

    def _find(self, path: str) -> Node:
        node: Node = self.root
        for name in path.split("/") if path else ():
            assert isinstance(node, Folder)
            node = node.live[name]
        return node

    def files(self) -> dict[str, bytes]:
        """Path -> bytes as the running process sees them: what must equal the real folder if the
        trace is whole.
        """
        return {path: bytes(file.live()) for path, file in _walk(self.root)}

    def crash(self, target: Path, mode: Mode, random: np.random.Generator) -> None:
        """Writes to `target`, an absent or empty folder, one state that a power cut now could
        leave.
        """
        _Wreck(mode, random).write(self.root, target)


def _walk(folder: Folder, above: str = "") -> Iterable[tuple[str, File]]:
    for name, node in folder.live.items():
        if isinstance(node, File):
            yield above + name, node
        else:
            yield from _walk(node, f"{above}{name}/")


def _load(source: Path, folder: Folder) -> None:
    for entry in source.iterdir():
        if entry.is_dir():
            node: Node = Folder()
            _load(entry, node)  # type: ignore[arg-type]
        elif entry.name.endswith("-shm"):
            continue
        else:
            node = File(bytearray(entry.read_bytes()))
        folder.live[entry.name] = folder.durable[entry.name] = node


class _Wreck:
    """The choices of one crash: how likely a change survived, in which unit writes tear, what is in
    lost sectors.
    """

    def __init__(self, mode: Mode, random: np.random.Generator) -> None:
        self.mode, self.random = mode, random
        self.survival = float(random.choice([0.05, 0.3, 0.5, 0.7, 0.95]))
        self.unit = int(random.choice([512, 4096]))
        self.grow = bool(random.random() < 0.5)  # sizes are kept even where bytes are lost
        self.garbage = bool(random.random() < 0.2)  # and lost bytes past the old end are not zeros

    def write(self, folder: Folder, target: Path) -> None:
        target.mkdir(exist_ok=True)
        names = dict(folder.durable)
        for renaming in self._kept(folder.pending):
            folder.rename(names, renaming)
        for name, node in sorted(names.items()):
            if isinstance(node, Folder):
                self.write(node, target / name)
            else:
                (target / name).write_bytes(self._content(node))

    def _kept(self, pending: list[Renaming]) -> list[Renaming]:
        if self.mode in (Mode.FORGET, Mode.KEEP):
            return pending if self.mode is Mode.KEEP else []
        if self.mode is Mode.PREFIX:
            return pending[: self.random.integers(len(pending) + 1)]
        return [renaming for renaming in pending if self.random.random() < self.survival]

    def _content(self, file: File) -> bytes:
        if self.mode is Mode.FORGET or not file.pending:
            return bytes(file.durable)
        if self.mode is Mode.KEEP:
            return bytes(file.live())
        content = bytearray(file.durable)
        for change, whole in self._survivors(file.pending):
            for piece in [change] if whole else self._pieces(change):
                _apply(content, piece)
        if self.mode is Mode.TORN and self.grow:
            self._extend(content, len(file.live()))
        return bytes(content)

    def _survivors(self, pending: list[Change]) -> list[tuple[Change, bool]]:
        """Changes that happened at all, and whether as a whole."""
        if self.mode is Mode.PREFIX:
            kept = pending[: self.random.integers(len(pending) + 1)]
            return [(change, change is not kept[-1]) for change in kept]
        if self.mode is Mode.REORDER:
            return [(change, True) for change in pending if self.random.random() < self.survival]
        return [
            (c, False)
            for c in pending
            if c.data is not None or self.random.random() < self.survival
        ]

    def _pieces(self, change: Change) -> Iterable[Change]:
        """What is left of a torn write. Units are aligned in the file; in PREFIX mode they were
        written in order.
        """
        if change.data is None:
            yield change
            return
        end = change.offset + len(change.data)
        first = change.offset - change.offset % self.unit
        starts = np.arange(first, end, self.unit)
        kept = self.random.random(len(starts)) < self.survival
        if self.mode is Mode.PREFIX:
            kept = np.arange(len(starts)) < self.random.integers(len(starts) + 1)
        for start in starts[kept].tolist():
            low, high = max(start, change.offset), min(start + self.unit, end)
            yield Change(low, change.data[low - change.offset : high - change.offset], change.time)

    def _extend(self, content: bytearray, size: int) -> None:
        missing = size - len(content)
        if missing > 0:
            content.extend(self.random.bytes(missing) if self.garbage else bytes(missing))


_TELLING = (Op.ACK, Op.SYNC_BEGIN, Op.SYNC_END, Op.RENAME, Op.UNLINK, Op.CREATE)


def crash_points(records: Sequence[Record], count: int, random: np.random.Generator) -> list[int]:
    """How many records happened before each crash, ascending: half anywhere, half next to syncs,
    names and answers.
    """
    telling = [at for at, record in enumerate(records) if record.op in _TELLING]
    near = (
        random.choice(telling, count // 2) + random.integers(0, 2, count // 2)
        if telling
        else np.empty(0, np.int64)
    )
    anywhere = random.integers(0, len(records) + 1, count - len(near))
    return sorted(int(point) for point in np.concatenate([near, anywhere]))


def acknowledged(records: Sequence[Record]) -> bytes:
    """The journal as far as it had been written."""
    return b"".join(record.data for record in records if record.op is Op.ACK)
