"""What one run does, as plain values that travel to the client processes as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from milvine.testing.sample_rows import CONTENTS

IDS = ("given", "generated")
"""By who makes them; there is a collection for each of these and each dimension."""
TAGS = ("_default", "p1", "p2", "p3")
NLIST = 64
SEARCH_PARAMS = {"nprobe": NLIST}
"""Every list is looked into, so that a search is exact whatever is indexed at that moment."""
INDEX_FILE_SIZE_MB = 32
TOPK = 10
CALL_SECONDS = 300.0
"""No call may take longer: it is an error then. But for those of indexers:"""
BUILD_SECONDS = 900.0
"""One call builds the indexes of all rows there are by then, on cores that all the others want too.
"""


@dataclass(frozen=True)
class Plan:
    """Numbers of clients by kind, and what they send.

    Attributes:
        rows: what batches hold, one of these each (`milvine.testing.sample_rows`); the first row of
            a batch is like no other.
        forks: the server forks a child, which holds what it had open when it is gone.
        settings: keys of the server's configuration.
    """

    seconds: float = 600.0
    writers: int = 16
    readers: int = 16
    deleters: int = 2
    indexers: int = 1
    processes: int = 8
    dimensions: tuple[int, ...] = (64,)
    batch: int = 500
    nq: int = 16
    pause: float = 0.0
    stall: float = 120.0
    seed: int = 1
    rows: tuple[str, ...] = CONTENTS
    forks: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def collections(self) -> list[str]:
        """Names; the number of a collection is its place here."""
        return [f"{ids}{dimension}" for dimension in self.dimensions for ids in IDS]

    def dimension(self, collection: int) -> int:
        return self.dimensions[collection // len(IDS)]

    def gives_ids(self, collection: int) -> bool:
        return collection % len(IDS) == 0

    @property
    def roles(self) -> list[str]:
        """One name for each client, such as `writer3`."""
        kinds = (("writer", self.writers), ("reader", self.readers), ("deleter", self.deleters))
        names = [f"{kind}{n}" for kind, count in kinds for n in range(count)]
        return names + [f"indexer{n}" for n in range(self.indexers)]

    def patience(self, role: str) -> float:
        """Seconds without an answer after which a client of that name is thought to be stuck."""
        return (
            max(self.stall, BUILD_SECONDS)
            if role.startswith("indexer") and self.stall > 0
            else self.stall
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        value = json.loads(text)
        return cls(**value | {name: tuple(value[name]) for name in ("dimensions", "rows")})
