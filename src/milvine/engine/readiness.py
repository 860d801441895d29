"""Whether an open database does what it is there for."""

from __future__ import annotations

from milvine.engine.following import Follower
from milvine.engine.opening import Opening
from milvine.errors import StorageFailed
from milvine.maintenance.worker import Worker
from milvine.storage.durable import check_room


def check_parts(parts: Opening, background: Worker | Follower | None) -> None:
    """`background` is what works behind it, if anything does.

    Raises:
        DatabaseClosed, StorageFailed: the text says why requests cannot be expected to succeed.
    """
    ended = background.ended if background else ""
    if ended and not parts.stores.closing.is_set():
        raise StorageFailed(
            f"The thread {ended} has ended: open the database anew, which loses nothing"
        )
    if isinstance(background, Follower) and background.trouble:
        reason = background.trouble
        raise StorageFailed(
            f"What is read is of before, for the folder cannot be followed: {reason}"
        )
    if not parts.read_only:
        parts.writer.check()
        check_room(parts.folder.root, "the data folder")
        parts.stores.storage.check_room()
