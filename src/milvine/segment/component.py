"""One open component file: its sections as views, its checksums, and the kernels opened over it."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.errors import CorruptFile
from milvine.index.base import OpenIndex
from milvine.segment.layout import BLOCK, Footer, SectionSpan, check_body, read_footer, verify_block
from milvine.types import Bytes, RowMask

_CURE = ". What is not damaged can be saved: see `milvine repair`"
_VIEWS_MAX = 1024
# Bytes whose pages one call asks for, so that no other thread waits long.
_TOUCHED_AT_ONCE = 16 << 20


class ComponentFile:
    """One mapped file: its sections by segment, and the kernels opened over it.

    With `again` it may be mapped a second time, for those who read a page here and a page there:
    `scattered`. Errors begin with `shown`, where it is (with its name if that is not given), and
    say what helps where rows cannot be read.
    """

    def __init__(
        self,
        name: str,
        data: Bytes,
        bad: dict[str, dict[int, str]] | None = None,
        again: Callable[[], Bytes] | None = None,
        shown: str = "",
    ) -> None:
        self.name, self._data, self._again, self._shown = name, data, again, shown or name
        self._bad = {} if bad is None else bad
        try:
            self.footer: Footer = read_footer(name, data)
            check_body(name, data, self.footer)
        except CorruptFile as error:
            raise self._told(str(error)) from None
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
        self.scan_inputs: dict[Hashable, Any] = {}
        """What scans of it read (`milvine.segment.cache.ScanInput`), by what they are of."""

    @property
    def bytes(self) -> int:
        return len(self._data)

    def damaged(self, offset: int, what: str) -> CorruptFile:
        """The error for whoever wants something of this file."""
        return self._told(str(CorruptFile.at(self.name, offset, what)))

    def _told(self, text: str) -> CorruptFile:
        """`text` begins with the name. An index is made anew by itself."""
        cure = "" if self.name.startswith("index-") else _CURE
        return CorruptFile(f"{self._shown}{text.removeprefix(self.name)}{cure}")

    def describe(self, segment_id: int) -> Footer:
        """The footer's entry of one segment.

        Raises:
            CorruptFile: the file does not hold that segment.
        """
        entry = self._segments.get(segment_id)
        if entry is None:
            raise self.damaged(0, f"it does not hold segment {segment_id}")
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
            raise self.damaged(0, f"segment {segment_id} has no section {section}")
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
            raise self._told(str(error)) from None

    def refuse_known(self, start: int, end: int) -> None:
        """Refuse bytes that are known to be damaged, without checking anything.

        Raises:
            CorruptFile: names file and offset.
        """
        if self._bad and (mine := self._bad.get(self.name)):
            for number in range(start // BLOCK, -(-end // BLOCK)):
                if number in mine:
                    raise self._told(mine[number])

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
