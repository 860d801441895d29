"""What the engine asks of the place where component files are: a local folder today.

The log, the catalog and the definitions are not in it: they stay in the data folder.
`milvine.testing.storage_contract` holds every implementation to what is promised here.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from milvine.types import Bytes

TEMPORARY = ".tmp"
"""What the name of a file ends with while it is written, where a storage has such files."""


def read_at(file: BinaryIO, start: int, count: int) -> bytes:
    """These bytes of a file from `Storage.open`, fewer at its end. Raises OSError."""
    file.seek(start, os.SEEK_SET)
    parts = []
    while count > 0 and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Sink(Protocol):
    """Where a component is written: an append-only stream that knows its position."""

    @property
    def position(self) -> int: ...

    def write(self, data: bytes | memoryview) -> int: ...


class Storage(Protocol):
    """Write-once files by name. Thread-safe.

    A file is there under its name only when its bytes are durable, and then never changes. The
    engine gives each name once, also across restarts, and never two at a time.

    Whoever needs a real path asks for it by name (`local_file`, `create_at`) and has it until the
    `with` ends. An array from `read` and a file from `open` outlive `remove`.
    """

    @property
    def mapped_folder(self) -> Path | None:
        """The folder whose files `read` maps into this process; None where it maps none."""
        ...

    def shown(self, name: str) -> str:
        """Where a file is, for messages: a path or an address."""
        ...

    def create(self, name: str) -> AbstractContextManager[Sink]:
        """Write a new file; it gets its name, durably, when the block ends without an error.

        Raises:
            StorageFailed: it was refused (full, permission, I/O); nothing of the file remains. Of
                an error of the block nothing remains either.
        """
        ...

    def create_at(self, name: str) -> AbstractContextManager[Path]:
        """As `create`, for those who write by path, as a process of its own does: an empty file is
        there, which they fill and sync (`milvine.storage.local_files`). Errors of the block are
        raised as they are.
        """
        ...

    def names_together(self) -> AbstractContextManager[Storage]:
        """A storage of the same files for creating several: their names need be durable only when
        the block has ended.

        Raises:
            StorageFailed: the names may not be durable, so it is not known which of the files will
                stay.
        """
        ...

    def read(self, name: str, scattered: bool = False) -> Bytes:
        """The whole file as read-only uint8 (bytes,), mapped or in memory.

        `scattered`: the caller will read a page here and a page there, so that nothing is gained by
        reading their neighbours as well.

        Raises:
            StorageFailed: the file is missing or cannot be read.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """The file to be read piece by piece, without mapping it: a bad sector is an error then,
        and not the end of the process. Raises OSError, also while it is read.
        """
        ...

    def local_file(self, name: str) -> AbstractContextManager[Path]:
        """A path under which this and other processes on this machine can read the file.

        Raises:
            StorageFailed: there is none. FolderGone: nobody can say any more what the path leads
                to.
        """
        ...

    def size(self, name: str) -> int:
        """Bytes of the file, 0 when it is missing."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes of every file, by name; those that go meanwhile may be left out. Empty where nobody
        can tell.
        """
        ...

    def names(self) -> list[str]:
        """Every file in order, also those half written by a process that was killed, which end in
        TEMPORARY. Raises OSError.
        """
        ...

    def remove(self, name: str) -> bool:
        """Remove a file, if it is there; False when that is refused for now, so try again later.
        It need not be durable: what no catalog names is removed again at the next start.
        """
        ...

    def check_room(self) -> None:
        """Whether what must go on (flushes) has room.

        Raises:
            DiskFull: there is too little. StorageFailed: nobody can tell.
        """
        ...

    def close(self) -> None:
        """Let go of everything; nothing is read or written any more. Twice is as once."""
        ...
