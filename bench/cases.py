"""Which indexes are measured, with which parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

from milvine.limits import TRAINING_ROWS_PER_LIST_MIN
from milvine.types import IndexType

NLIST, NPROBE = 1024, 16
BINARY_NLIST, BINARY_NPROBE = 128, 24
LISTED = (  # training draws at random
    IndexType.IVF_FLAT,
    IndexType.IVF_SQ8,
    IndexType.IVF_SQ8H,
    IndexType.IVF_PQ,
    IndexType.IVF_PQFS,
    IndexType.IVF_RABITQ,
)


@dataclass(frozen=True)
class Case:
    """One index type with its build and search parameters."""

    type: IndexType
    build: dict[str, int] = field(default_factory=dict)
    search: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.type.name

    def text(self) -> str:
        return (
            " ".join(f"{key}={value}" for key, value in {**self.build, **self.search}.items())
            or "-"
        )

    def lists(self, rows: int) -> int:
        """Lists really built over `rows` rows: Milvus 1.x and Milvine want 40 rows for each."""
        return min(self.build["nlist"], max(1, rows // TRAINING_ROWS_PER_LIST_MIN))


def binary_cases(names: list[str] | None = None) -> list[Case]:
    """Every case for binary vectors, or those named."""
    listed = Case(IndexType.IVF_FLAT, {"nlist": BINARY_NLIST}, {"nprobe": BINARY_NPROBE})
    return [case for case in (Case(IndexType.FLAT), listed) if names is None or case.name in names]


def cases(dimension: int, names: list[str] | None = None) -> list[Case]:
    """Every case for float vectors of one dimension, or those named."""
    listed, probed = {"nlist": NLIST}, {"nprobe": NPROBE}
    subspaces = (
        48
        if dimension % 48 == 0
        else next(m for m in (25, 32, 16, 8, 4, 2, 1) if dimension % m == 0)
    )
    every = [
        Case(IndexType.FLAT),
        Case(IndexType.IVF_FLAT, listed, probed),
        Case(IndexType.IVF_SQ8, listed, probed),
        Case(IndexType.IVF_SQ8H, listed, probed),
        Case(IndexType.IVF_PQ, {**listed, "m": subspaces}, probed),
        Case(IndexType.HNSW, {"M": 16, "efConstruction": 200}, {"ef": 64}),
        Case(
            IndexType.RNSG,
            {"search_length": 60, "out_degree": 32, "candidate_pool_size": 200, "knng": 50},
            {"search_length": 64},
        ),
        Case(IndexType.ANNOY, {"n_trees": 16}, {"search_k": 5000}),
        Case(IndexType.IVF_PQFS, listed, probed),
        Case(IndexType.IVF_RABITQ, listed, probed),
        Case(IndexType.HNSW_SQ8, {"M": 16, "efConstruction": 200}, {"ef": 64}),
    ]
    return [case for case in every if names is None or case.name in names]
