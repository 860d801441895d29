"""One component file, read with plain reads (a bad sector is an error here, not the end of the
process).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from milvine.errors import CorruptFile
from milvine.offline.findings import Finding, damage
from milvine.segment.footer import check_spans, parse_footer
from milvine.segment.layout import BLOCK, FORMAT_VERSION, MAGIC, TRAILER, Footer
from milvine.storage.base import Storage, read_at
from milvine.storage.checksum import crc32c
from milvine.types import Bytes

KINDS = ("rows", "index", "dead")
Pace = Callable[[int], None]
"""Told how many bytes were read; may sleep."""


def pace(bytes_per_second: float | None) -> Pace:
    """Sleeps so that not more than that is read."""
    began, total = time.monotonic(), 0

    def read(count: int) -> None:
        nonlocal total
        total += count
        if bytes_per_second:
            time.sleep(max(began + total / bytes_per_second - time.monotonic(), 0))

    return read


@dataclass
class Component:
    """What was found in a file. `footer` is None when it cannot be trusted; `bad` holds numbers of
    damaged blocks.
    """

    storage: Storage
    name: str
    size: int
    footer: Footer | None = None
    body_end: int = 0
    bad: set[int] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    @property
    def file(self) -> str:
        return f"segments/{self.name}"

    @property
    def entries(self) -> list[Footer]:
        return [] if self.footer is None else list(self.footer["segments"])

    def entry(self, segment_id: int) -> Footer | None:
        return next((entry for entry in self.entries if entry["id"] == segment_id), None)

    def sound(self, entry: Footer, *sections: str) -> bool:
        """Whether every block of these sections is as it was written; a section that is not there
        is sound.
        """
        spans = [
            entry["sections"][name]
            for name in sections or entry["sections"]
            if name in entry["sections"]
        ]
        return not any(
            self.bad & set(range(start // BLOCK, -(-(start + size) // BLOCK)))
            for start, size in spans
        )

    def section(self, entry: Footer, name: str, dtype: Any = np.uint8) -> NDArray[Any] | None:
        """A section as a 1-D array of `dtype`, read from disk; None when there is none."""
        span = entry["sections"].get(name)
        return None if span is None else self.read(*span).view(dtype)

    def read(self, start: int, count: int) -> Bytes:
        with self.storage.open(self.name) as file:
            data = np.frombuffer(read_at(file, start, count), np.uint8)
        if len(data) != count:
            raise OSError(f"{self.file} ends before byte {start + count}")
        return data


def examine(storage: Storage, name: str, pace: Pace = lambda count: None) -> Component:
    """Read a whole component and check footer and blocks.

    Raises:
        FileNotFoundError: it is not there.
    """
    with storage.open(name) as file:
        component = Component(storage, name, file.seek(0, os.SEEK_END))
        try:
            _read_footer(component, file)
            if component.footer is not None:
                _check_blocks(component, file, pace)
        except OSError as error:
            component.footer = None
            component.findings.append(
                damage(component.file, file.tell(), f"it cannot be read: {error}")
            )
    return component


def _read_footer(component: Component, file: BinaryIO) -> None:
    def broken(offset: int, what: str) -> None:
        component.findings.append(damage(component.file, offset, what))

    start = component.size - TRAILER.size
    if start < len(MAGIC):
        return broken(0, "the file is cut short")
    length, checksum, version, magic = TRAILER.unpack(read_at(file, start, TRAILER.size))
    if magic != MAGIC or length > start - len(MAGIC):
        return broken(
            start,
            "the trailer is missing or damaged: the file is cut short or its end was overwritten",
        )
    if version != FORMAT_VERSION:
        return broken(
            start,
            f"it says that it has format {version}; this Milvine writes and reads {FORMAT_VERSION}",
        )
    text = read_at(file, start - length, length)
    if crc32c(text) != checksum:
        return broken(
            start - length, "the footer's checksum is wrong, so what lies in the file is not known"
        )
    component.body_end = start - length
    try:
        footer = parse_footer(component.file, text, component.body_end)
        check_spans(component.file, footer, component.body_end, BLOCK)
    except CorruptFile as error:
        return broken(component.body_end, error.message.partition(": ")[2])
    component.footer = footer
    return None


def _check_blocks(component: Component, file: BinaryIO, pace: Pace) -> None:
    assert component.footer is not None
    for number, checksum in enumerate(component.footer["crcs"]):
        start = number * BLOCK
        data = read_at(file, start, min(BLOCK, component.body_end - start))
        pace(len(data))
        if crc32c(data) != checksum:
            component.bad.add(number)
            hit = ", ".join(_hit(component, start, start + len(data))) or "nothing that is read"
            what = f"the checksum of the {len(data)} bytes from here on is wrong: {hit}"
            component.findings.append(damage(component.file, start, what))
    if file.read(0) == b"" and not component.body_end >= len(MAGIC):
        component.findings.append(damage(component.file, 0, "it has no content"))


def _hit(component: Component, start: int, end: int) -> list[str]:
    """Which sections lie in these bytes."""
    found: dict[str, list[str]] = {}
    for entry in component.entries:
        for name, (at, size) in entry["sections"].items():
            if at < end and start < at + size and name != "flat":
                found.setdefault(name, []).append(str(entry["id"]))
    return [
        f"{name} of segment{'s' if len(ids) > 1 else ''}"
        f" {', '.join(ids[:3])}{' and more' if len(ids) > 3 else ''}"
        for name, ids in found.items()
    ]
