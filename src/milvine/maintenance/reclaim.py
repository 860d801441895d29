"""Removal of files that no version holds any more."""

from __future__ import annotations

import time
from collections.abc import Iterable

from milvine.events import FilesRemoved
from milvine.state.stores import Stores


def retire(stores: Stores, names: Iterable[str]) -> None:
    """These files left the catalog; they go once no reader holds them and the grace period
    is over.
    """
    now = time.monotonic()
    for name in names:
        stores.obsolete.setdefault(name, now)


def reclaim(stores: Stores, grace: float) -> None:
    """Remove what was retired more than `grace` seconds ago (readers may be elsewhere) and is read
    by nobody here.

    A removal that the system refuses (a mapped file on Windows) is tried again at the next call.
    """
    retire(stores, stores.settled())
    if not stores.obsolete:
        return
    now = time.monotonic()
    held = stores.files.held()
    due = [
        name
        for name, since in list(stores.obsolete.items())
        if now - since >= grace and name not in held
    ]
    removed = []
    # Rows never outlive what says which are dead.
    for name in sorted(due, key=lambda name: name.startswith("dead-")):
        stores.files.forget(name)
        if stores.storage.remove(name):
            stores.obsolete.pop(name, None)
            removed.append(name)
    if removed:
        stores.events.emit(FilesRemoved(tuple(removed)))
