"""Back pressure: with the insert buffer full, whoever inserts flushes first, or waits for one who
does; and searches that find much wait for each other, so that what they find fits into memory
(`search/portions.py`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from milvine.errors import MilvineError
from milvine.maintenance.flush import flush
from milvine.state.stores import Stores
from milvine.waiting import Flag


class InsertBackPressure:
    """In the insert buffer of one database. One thread makes it at a time: the others find
    it made.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._making = threading.Lock()

    def full(self) -> bool:
        return self._stores.tail_bytes() > self._stores.settings.insert_buffer_size

    def relieve(self) -> bool:
        """Returns when there is room; whether this thread flushed anything for that.

        Raises:
            StorageFailed, CorruptFile: nothing can be flushed; this is why not the largest tail.
        """
        flushed = False
        while self.full():
            with self._making:
                if self.full():
                    self._flush_largest()
                    flushed = True
        return flushed

    def _flush_largest(self) -> None:
        """The largest tail that can be flushed: a damaged file of one collection does not keep rows
        from the others.
        """
        failure: MilvineError | None = None
        for state in sorted(
            self._stores.states.values(), key=lambda state: state.memtable.bytes, reverse=True
        ):
            if not state.memtable.bytes:
                break
            try:
                flush(self._stores, state)
            except MilvineError as error:
                failure = failure or error
            else:
                return
        if failure is not None:
            raise failure


class _Reservation:
    """Bytes of one search, and whether they were granted."""

    __slots__ = ("granted", "size")

    def __init__(self, size: int) -> None:
        self.size, self.granted = size, Flag()


class SearchBackPressure:
    """In memory, for what the searches of a database find before it is merged: `most` bytes.
    Thread-safe.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        # In order of arrival: those granted first, then those that wait.
        self._reservations: list[_Reservation] = []

    @property
    def waiting(self) -> int:
        """Searches that wait for room."""
        return sum(not reservation.granted.is_set() for reservation in self._reservations.copy())

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Counts `size` bytes; waits until there is room, which for more than there ever is means:
        alone.

        Whoever has it never waits for room again, so everybody's turn comes, and who wants much is
        not passed for ever by those who want little.
        """
        reservation = _Reservation(min(size, self._most))
        try:
            self._enter(reservation)
            reservation.granted.wait()
            yield
        finally:
            try:
                self._leave(reservation)
            except BaseException:  # interrupted: what was done is not done twice
                self._leave(reservation)
                raise

    def _enter(self, reservation: _Reservation) -> None:
        with self._lock:
            self._reservations.append(reservation)
            self._grant()

    def _leave(self, reservation: _Reservation) -> None:
        with self._lock:
            if reservation in self._reservations:
                self._reservations.remove(reservation)
            self._grant()

    def _grant(self) -> None:
        """To as many as there is room for, with the lock held; those that have it
        already stay as they are."""
        left = self._most
        for reservation in self._reservations:
            left -= reservation.size
            if left < 0:
                return
            reservation.granted.set()
