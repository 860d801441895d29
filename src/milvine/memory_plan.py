"""The memory plan: what each part of a database may hold of the memory that this process may take.

`PARTS` is the whole of it: a row for each part. `plan` is arithmetic over it and nothing else. It
is made once, where a database is opened, and handed down; nothing else asks for the limit.

The interpreter and its libraries take `PROGRAM_BYTES` before a row is there. The parts of the kind
`OWN` share the rest, and are together no more than that when all are full at once. Where files are
read into memory instead of mapped, they have half of the rest, and the other parts half of theirs.

What builders of indexes take is not in the sum: each takes of what is left when it begins
(`builder_bytes`), and the system ends it before anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from milvine.limits import MIB, RESULT_BYTES_MAX
from milvine.memory import memory_limit

PROGRAM_BYTES = 100 * MIB
"""Interpreter and libraries (75 MiB), threads, a merge, and what batches of queries work with."""
INSERT_BYTES = 16 * MIB
"""What an insert is taken to have while its message is read."""
ANY_BYTES = 1 << 62
"""No bound."""

BUILDER_BYTES = 40 * MIB
"""What a builder with its libraries takes before it has read a row, and what faiss works with."""
BUILDER_SHARE = 0.75
"""Of the memory that is left, for a builder that can do with any; the rest is for pages of files
and for others.
"""
WAITING_BUILDER_BYTES = 256 * MIB
"""Where less memory is left than this, no process waits for the next build: what it has is a good
part of what a build may use.
"""


class Kind(Enum):
    """How a part counts."""

    OWN = "own"
    """Allocated, and in the sum."""
    INSIDE = "inside"
    """Inside another part: when to act, or how to divide it."""
    PAGES = "pages"
    """Pages of mapped files, which the system takes back when others need memory."""
    FILES = "files"
    """Pages where files are mapped, own where they are read into memory."""


@dataclass(frozen=True, slots=True)
class Part:
    """One row of the plan.

    Attributes:
        name: the field of `MemoryPlan`.
        purpose: what it is for.
        kind: how it counts.
        divisor: which part of the memory it is, as a divisor: of what the program leaves.
        most, least: bytes that it is never above or below.
        held: how many times as much is held when it is full.
        whole: the share is of all memory, program and all.
        setting: the field of Settings that decides it, if any. The share bounds its default.
    """

    name: str
    purpose: str
    kind: Kind
    divisor: int
    most: int
    least: int
    held: int = 1
    whole: bool = False
    setting: str = ""

    def bytes(self, limit: int, mapped: bool = True) -> int:
        """By the rule, where the process may take `limit` bytes; 0: nobody knows, so `most`."""
        if not limit:
            return self.most
        rest = max(limit - PROGRAM_BYTES, 0)
        if not mapped and self.kind is not Kind.FILES:
            rest //= 2
        return min(self.most, max((limit if self.whole else rest) // self.divisor, self.least))

    def rule(self, mapped: bool = True) -> str:
        """The share as people read it: `1/8 of the rest`, which is what the program leaves."""
        halved = not (mapped or self.whole or self.kind is Kind.FILES)
        return f"1/{self.divisor * (1 + halved)} of {'all' if self.whole else 'the rest'}"

    def counts(self, mapped: bool = True) -> bool:
        """Whether it is in the sum."""
        return self.kind is Kind.OWN or (self.kind is Kind.FILES and not mapped)


_KIB, _GIB = 1 << 10, 1024 * MIB

PARTS = (
    Part(
        "insert_buffer",
        "rows in the log that are in no segment yet",
        Kind.OWN,
        divisor=6,
        most=_GIB,
        least=4 * MIB,
        setting="insert_buffer_size",
    ),
    Part(
        "flush_tail",
        "such rows from which on a collection is flushed",
        Kind.INSIDE,
        divisor=6,
        most=128 * MIB,
        least=4 * MIB,
        setting="auto_flush_tail_bytes",
    ),
    Part(
        "requests",
        "requests in flight; as many bytes may wait",
        Kind.OWN,
        divisor=6,
        most=2 * _GIB,
        least=4 * MIB,
        held=2,
        setting="request_bytes_max",
    ),
    Part(
        "inserts_read",
        "messages of inserts that grpcio reads side by side",
        Kind.INSIDE,
        divisor=4,
        most=4 * _GIB,
        least=2 * INSERT_BYTES,
        whole=True,
    ),
    Part(
        "searches",
        "what searches find before it is merged",
        Kind.OWN,
        divisor=16,
        most=_GIB,
        least=MIB,
    ),
    Part(
        "answers",
        "answers, 12 bytes a hit; encoding takes the rest",
        Kind.OWN,
        divisor=16,
        most=RESULT_BYTES_MAX,
        least=3 * MIB // 2,
        held=4,
    ),
    Part(
        "unsent_replies",
        "replies that callers at the port for lanes are slow to take",
        Kind.OWN,
        divisor=64,
        most=64 * MIB,
        least=256 * _KIB,
    ),
    Part(
        "tables",
        "tables that faiss precomputes for IVF_PQ",
        Kind.OWN,
        divisor=8,
        most=ANY_BYTES,
        least=0,
    ),
    Part(
        "freed",
        "freed memory that the allocator keeps",
        Kind.OWN,
        divisor=32,
        most=512 * MIB,
        least=256 * _KIB,
    ),
    Part(
        "freed_block",
        "blocks from which on freed memory goes back at once",
        Kind.INSIDE,
        divisor=256,
        most=32 * MIB,
        least=32 * _KIB,
    ),
    Part(
        "files",
        "preloaded files, or read into memory",
        Kind.FILES,
        divisor=2,
        most=4 * _GIB,
        least=8 * MIB,
        setting="cache_size",
    ),
    Part(
        "mapped_files",
        "open files from which on neighbours are not read in advance",
        Kind.PAGES,
        divisor=2,
        most=ANY_BYTES,
        least=0,
        whole=True,
    ),
    Part(
        "prefetch",
        "lists of IVF that one call asks for before they are read",
        Kind.PAGES,
        divisor=8,
        most=128 * MIB,
        least=MIB,
        whole=True,
    ),
)


class Sized(Protocol):
    """Settings, as far as they are bytes of memory (`milvine.config.Settings`)."""

    @property
    def mmap(self) -> bool: ...
    @property
    def insert_buffer_size(self) -> int: ...
    @property
    def auto_flush_tail_bytes(self) -> int: ...
    @property
    def request_bytes_max(self) -> int: ...
    @property
    def cache_size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes of each part of `PARTS`, as they were when the database was opened.

    `limit`: bytes that the process may take; 0 where nobody says. `mapped`: files are mapped, not
    read into memory. Settings that change while the database is open count from then on, and not
    what stands here.
    """

    limit: int
    mapped: bool
    insert_buffer: int
    flush_tail: int
    requests: int
    inserts_read: int
    searches: int
    answers: int
    unsent_replies: int
    tables: int
    freed: int
    freed_block: int
    files: int
    mapped_files: int
    prefetch: int

    @property
    def most(self) -> int:
        """Bytes held when the program runs and every part that counts is full."""
        return PROGRAM_BYTES + sum(
            part.held * size for part, size in self.parts() if part.counts(self.mapped)
        )

    @property
    def search_portion(self) -> int:
        """What a search finds at a time: several are at work at once. One query is never parted,
        whatever it takes.
        """
        return self.searches // 4

    @property
    def inserts_at_once(self) -> int:
        """Inserts whose messages are read side by side, at least 2."""
        return self.inserts_read // INSERT_BYTES

    def parts(self) -> Iterator[tuple[Part, int]]:
        """Each part and its bytes."""
        return ((part, getattr(self, part.name)) for part in PARTS)


UNBOUNDED = MemoryPlan(limit=0, mapped=True, **{part.name: part.most for part in PARTS})
"""For who opens no database: each part has its most."""


def plan(limit: int, settings: Sized) -> MemoryPlan:
    """The plan of a process that may take `limit` bytes; 0: nobody knows, so each part has its
    most.

    What the settings say counts as it is: `milvine.config.bounded` made their defaults fit.
    """
    sizes = {
        part.name: int(getattr(settings, part.setting))
        if part.setting
        else part.bytes(limit, settings.mmap)
        for part in PARTS
    }
    return MemoryPlan(limit=limit, mapped=settings.mmap, **sizes)


def plan_here(settings: Sized) -> MemoryPlan:
    """That of this process."""
    return plan(memory_limit(), settings)


def bounds(limit: int, mapped: bool = True) -> dict[str, int]:
    """Field of Settings -> the most bytes that its default is to allow where the process may take
    `limit` bytes, in whole MiB but for the smallest; 0: no limit.
    """
    if not limit:
        return {}
    return {
        part.setting: max(part.bytes(limit, mapped) // MIB * MIB, part.least)
        for part in PARTS
        if part.setting
    }


def builder_bytes(left: int) -> int:
    """Bytes that a build may use where `left` are left, at least 1; 0, any number, for 0."""
    return max(int(left * BUILDER_SHARE) - BUILDER_BYTES, 1) if left else 0
