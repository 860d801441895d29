"""Whether an open database does what it is there for."""

from __future__ import annotations

from milvine.engine.opening import Opening
from milvine.errors import StorageFailed
from milvine.storage.durable import check_room


def check_parts(parts: Opening, ended: str) -> None:
    """`ended` is the name of a thread of the background work that has ended, if one has.

    Raises:
        DatabaseClosed, StorageFailed: the text says why requests cannot be expected to succeed.
    """
    if ended and not parts.stores.closing.is_set():
        raise StorageFailed(f"The thread {ended} has ended: open the database anew, which loses nothing")
    if not parts.read_only:
        parts.stores.writer.check()
        check_room(parts.folder.root, "the data folder")
