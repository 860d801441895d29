"""Reading every segment file now and then, slowly, so that what went bad is known before somebody
needs it.

Searches do not check the vectors they scan. A block that is found damaged here is refused to
readers from then on, an index file is set aside and built anew, a tombstone file is written anew
from memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from milvine.errors import MilvineError, OperatorError
from milvine.events import DamageFound, Scrubbed
from milvine.segment.layout import BLOCK, TRAILER, Footer, read_footer
from milvine.state.collection import CollectionState
from milvine.state.stores import Stores
from milvine.storage.base import Storage, read_at
from milvine.storage.checksum import crc32c

BYTES_PER_SECOND = 16 << 20
_FIRST_SECONDS = 30.0
_TICK_SECONDS = 5.0
Pause = Callable[[float], bool]
Damage = tuple[int, str]


def scrub_loop(stores: Stores) -> None:
    """The body of a thread: one pass soon after the start, then one every `storage.scrub_interval`;
    0: none.
    """
    last = time.monotonic() + _FIRST_SECONDS
    first = True
    while not stores.closing.wait(_TICK_SECONDS):
        interval = stores.settings.scrub_interval
        if interval and time.monotonic() >= last + (0 if first else interval):
            scrub(stores, stores.closing.wait)
            last, first = time.monotonic(), False


def scrub(stores: Stores, pause: Pause) -> None:
    """One pass over the files that the catalog names. `pause` sleeps for some seconds; True from it
    ends the pass.
    """
    began, size, damaged = time.monotonic(), 0, 0
    names = sorted({name for state in list(stores.states.values()) for name in _files(state)})
    for name in names:
        if not _needed(stores, name):
            continue  # merged or dropped meanwhile
        found, read = _check(stores.storage, name, pause)
        size += read
        if stores.closing.is_set():
            return
        if found and _needed(stores, name):
            damaged += 1
            _act(stores, name, found)
    stores.events.emit(Scrubbed(len(names), size, damaged, time.monotonic() - began))


def _files(state: CollectionState) -> set[str]:
    """As readers see them: the writer may change its own picture at any moment."""
    return {name for each in state.version.segments for name in each.segment.record.files}


def _needed(stores: Stores, name: str) -> bool:
    return any(name in _files(state) for state in list(stores.states.values()))


def _check(storage: Storage, name: str, pause: Pause) -> tuple[list[Damage], int]:
    """(offset, what is wrong) of each damaged block, and the bytes read. The file is read, not
    mapped: a bad sector is a finding and not the end of the process."""
    try:
        with storage.open(name) as file:
            size = file.seek(0, os.SEEK_END)
            footer, end = _footer(name, file, size)
            if footer is None:
                return [(end, "the footer is damaged or cut off")], size
            return _damaged_blocks(file, footer, end, pause), size
    except OSError as error:
        return [(0, f"it cannot be read: {error.strerror or error}")], 0


def _footer(name: str, file: BinaryIO, size: int) -> tuple[Footer | None, int]:
    """The footer, None if it is damaged, and where the body ends."""
    start = size - TRAILER.size
    if start < 0:
        return None, 0
    length = min(TRAILER.unpack(read_at(file, start, TRAILER.size))[0], start)
    # Some of the body: a footer alone looks like a file cut short.
    before = max(start - length - BLOCK, 0)
    tail = np.frombuffer(read_at(file, before, size - before), np.uint8)
    try:
        return read_footer(name, tail), start - length
    except OperatorError:
        return None, start - length


def _damaged_blocks(file: BinaryIO, footer: Footer, end: int, pause: Pause) -> list[Damage]:
    found = []
    for number, expected in enumerate(footer["crcs"]):
        start = number * BLOCK
        try:
            if crc32c(read_at(file, start, min(BLOCK, end - start))) != expected:
                found.append((start, "a block's checksum is wrong"))
        except OSError as error:
            found.append((start, f"it cannot be read: {error.strerror or error}"))
        if pause(BLOCK / BYTES_PER_SECOND):
            break
    return found


def _act(stores: Stores, name: str, found: list[Damage]) -> None:
    for offset, what in found:
        stores.events.emit(DamageFound(name, offset, what))
    reason = f"{name} is damaged at byte {found[0][0]}: {found[0][1]}"
    if name.startswith("index-"):
        stores.files.damaged.setdefault(name, reason)
    elif name.startswith("rows-"):
        stores.files.refuse_blocks(
            name, {at // BLOCK: f"{name} is damaged at byte {at}: {what}" for at, what in found}
        )
    else:
        _renew_tombstones(stores, name)


def _renew_tombstones(stores: Stores, name: str) -> None:
    """Have the next flush write these deletes once more: which rows are dead is known, for it was
    read at the start.
    """

    def run() -> None:
        for state in stores.states.values():
            keys = [
                key
                for key, each in state.segments.items()
                if each.segment.record.tombstone_file == name
            ]
            known = [key for key in keys if not state.segments[key].segment.refused]
            if known:
                state.dirty.update(known)
                state.touch(stores.log.last_lsn)
                state.pending_since = state.pending_since or time.monotonic()

    try:
        stores.writer.call(run)
    except MilvineError:
        return  # closed meanwhile: the next start finds it
