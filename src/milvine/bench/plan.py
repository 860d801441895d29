"""What is measured with which parameters: index kinds, contenders, rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

K = 10
ADAPTERS = Path(__file__).parent / "contenders"
RAW = "raw faiss"


@dataclass(frozen=True)
class Kind:
    """An index with its build and search parameters; `breadths` are further values of `breadth` for
    the picture.
    """

    name: str
    build: Mapping[str, int] = field(default_factory=dict)
    search: Mapping[str, int] = field(default_factory=dict)
    breadth: str = ""
    breadths: tuple[int, ...] = ()

    def text(self) -> str:
        return " ".join(
            [self.name, *(f"{key}={value}" for key, value in {**self.build, **self.search}.items())]
        )


KINDS = {
    "HNSW": Kind(
        "HNSW", {"M": 16, "efConstruction": 200}, {"ef": 64}, "ef", (16, 32, 128, 256, 512)
    ),
    "IVF_FLAT": Kind("IVF_FLAT", {"nlist": 1024}, {"nprobe": 16}, "nprobe", (2, 4, 8, 32, 64, 128)),
    "exact": Kind("exact"),
}


@dataclass(frozen=True)
class Entry:
    """One contender of a run.

    `served`: clients are processes, not threads. `own_server`: `milvine serve` is started for it.
    `guest_of`: another entry whose server and collection it uses; it then loads and builds nothing.
    `kinds`: the indexes that it has. `durable`: it stores what is inserted; others are indexes in
    memory.
    """

    name: str
    adapter: Path
    python: Path | None = None
    served: bool = False
    own_server: bool = False
    guest_of: str | None = None
    in_a_folder: bool = False
    kinds: tuple[str, ...] = tuple(KINDS)
    batch: int = 10_000
    durable: bool = True


OWN_ENTRIES = (
    Entry(RAW, ADAPTERS / "raw_faiss.py"),
    Entry("embedded", ADAPTERS / "milvus_1x.py", in_a_folder=True),
    Entry("server", ADAPTERS / "milvus_1x.py", served=True, own_server=True),
)


@dataclass(frozen=True)
class Plan:
    """How long and how often. Threads are those of raw faiss's builds and batches and of a server's
    pool.
    """

    threads: int
    rounds: int = 5
    seconds: float = 2.0
    clients: tuple[int, ...] = (1, 8)
    kinds: tuple[str, ...] = tuple(KINDS)
    many: tuple[int, ...] = (100, 1000, 2000)
    curve: bool = True
    lists: int = 20_000  # rows that are inserted as lists once more
    entries: tuple[Entry, ...] = OWN_ENTRIES
