"""What the sizing tool of the Milvus 1.x era answered, for comparison (tools
specification, (c)).
"""

from __future__ import annotations

from dataclasses import dataclass

from milvine.index.spec import integer
from milvine.limits import MIB
from milvine.sizing.shape import Load
from milvine.types import IndexType


@dataclass(frozen=True, slots=True)
class Official:
    """Bytes."""

    memory: int
    disk: int


def official(load: Load) -> Official | None:
    """None where that tool had no formula: HNSW, RNSG, ANNOY. Ids are not counted."""
    raw = load.vectors * load.row_bytes
    if load.index_type is IndexType.FLAT:
        return Official(raw, raw)
    if load.index_type not in (
        IndexType.IVF_FLAT,
        IndexType.IVF_SQ8,
        IndexType.IVF_SQ8H,
        IndexType.IVF_PQ,
    ):
        return None
    d, per_segment = (
        load.dimension,
        min(load.index_file_size_mb * MIB / load.row_bytes, load.vectors),
    )
    segments = round(load.vectors / per_segment)
    lists = min(integer(load.params, "nlist"), per_segment / 40)
    if load.metric.is_binary:
        memory = raw + d * lists
        return Official(round(memory), round(raw + memory))
    quantizers = 4 * d * lists * segments
    if load.index_type is IndexType.IVF_PQ:
        m = integer(load.params, "m")
        stored = segments * (m * per_segment + 1024 * d) + quantizers
        tables = segments * 1024 * m * lists
        return Official(round(stored + tables), round(raw + stored))
    share = 1.0 if load.index_type is IndexType.IVF_FLAT else 0.25
    memory = share * raw + quantizers
    return Official(round(memory), round(raw + memory))
