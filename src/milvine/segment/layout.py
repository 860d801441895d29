"""The component file: sections, a footer that describes them, and a checksum for every block.

    magic 8 | sections, aligned to 64 | footer (JSON) |
    footer length u64 | crc32c u32 of the footer | format u32 | magic 8

The footer holds `kind` ("rows", "index" or "tombstones"), `segments` (one entry per segment with
its ids, schema, LSN range, the segments it replaces and its sections as [offset, length]) and
`crcs`: CRC32C of every BLOCK bytes of the body, so that a damaged byte is found and named by
offset. The catalog can be rebuilt from the footers.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any

from milvine.errors import CorruptFile, UnsupportedFormat
from milvine.segment.footer import check_spans, parse_footer
from milvine.storage.base import Sink
from milvine.storage.checksum import crc32c
from milvine.types import Bytes

MAGIC = b"MILVSEG\x01"
FORMAT_VERSION = 1
BLOCK = 1 << 20
ALIGNMENT = 64
TRAILER = struct.Struct("<QII8s")

COMPONENT_NAME = re.compile(r"(rows|index|dead)-\d+\.mlv")
"""How components are named. A file of another name is not Milvine's, whatever folder it is in."""

MEASURED = "recall"
"""Of an index: what was measured of it (`milvine.index.recall.table`). Not in files of earlier
releases, which read others without minding it.
"""

Footer = dict[str, Any]
SectionSpan = tuple[int, int]


class ComponentWriter:
    """Writes one component through a sink; blocks are checksummed on the way."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._crc = 0
        self._filled = 0
        self.crcs: list[int] = []
        self.write(MAGIC)

    @property
    def position(self) -> int:
        return self._sink.position

    def write(self, data: bytes | memoryview) -> int:
        """Append to the body; returns the count."""
        view = memoryview(data).cast("B")
        for start in range(0, view.nbytes, BLOCK):
            self._checksum(view[start : start + BLOCK])
        self._sink.write(view)
        return view.nbytes

    def align(self, after: int = 0) -> None:
        """Pad so that the byte `after` bytes ahead falls on the alignment."""
        self.write(bytes(-(self.position + after) % ALIGNMENT))

    def section(self, *parts: bytes | memoryview) -> SectionSpan:
        """Append an aligned section; returns (offset, length)."""
        self.align()
        start = self.position
        for part in parts:
            self.write(part)
        return start, self.position - start

    def finish(self, kind: str, segments: list[Footer]) -> None:
        """Append footer and trailer."""
        if self._filled:
            self.crcs.append(self._crc)
        footer = {
            "format": FORMAT_VERSION,
            "kind": kind,
            "segments": segments,
            "block": BLOCK,
            "crcs": self.crcs,
        }
        data = json.dumps(footer, separators=(",", ":")).encode()
        self._sink.write(data)
        self._sink.write(TRAILER.pack(len(data), crc32c(data), FORMAT_VERSION, MAGIC))

    def _checksum(self, view: memoryview) -> None:
        while view.nbytes:
            part = view[: BLOCK - self._filled]
            self._crc = crc32c(part, start=self._crc)
            self._filled += part.nbytes
            if self._filled == BLOCK:
                self.crcs.append(self._crc)
                self._crc, self._filled = 0, 0
            view = view[part.nbytes :]


def read_footer(name: str, data: Bytes) -> Footer:
    """The footer of a mapped component.

    Raises:
        CorruptFile: cut short or damaged.
        UnsupportedFormat: a newer Milvine wrote it.
    """
    start = len(data) - TRAILER.size
    if start < len(MAGIC):
        raise CorruptFile.at(name, 0, "the file is cut short")
    length, checksum, version, magic = TRAILER.unpack(data[start:].tobytes())
    if magic != MAGIC or length > start:
        raise CorruptFile.at(name, start, "the trailer is missing or damaged")
    if version > FORMAT_VERSION:
        raise UnsupportedFormat(
            f"{name} has segment format {version}; this Milvine reads up to {FORMAT_VERSION}"
        )
    text = data[start - length : start].tobytes()
    if crc32c(text) != checksum:
        raise CorruptFile.at(name, start - length, "the footer's checksum is wrong")
    return parse_footer(name, text, start - length)


def check_body(name: str, data: Bytes, footer: Footer) -> None:
    """Whether what the footer says of a whole file can be.

    Raises:
        CorruptFile: sections outside the file, or of a size that their rows do not have.
    """
    check_spans(name, footer, len(data) - TRAILER.size - _footer_length(data), BLOCK)


def verify_block(name: str, data: Bytes, footer: Footer, number: int) -> None:
    """Check one block of the body.

    Raises:
        CorruptFile: names the file and the damaged block's offset.
    """
    start = number * BLOCK
    body_end = len(data) - TRAILER.size - _footer_length(data)
    if crc32c(data[start : min(start + BLOCK, body_end)]) != footer["crcs"][number]:
        raise CorruptFile.at(name, start, "a block's checksum is wrong")


def _footer_length(data: Bytes) -> int:
    length, _, _, _ = TRAILER.unpack(data[len(data) - TRAILER.size :].tobytes())
    return int(length)
