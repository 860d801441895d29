"""Vectors with their exact answers: a set that is drawn alike everywhere, or a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from milvine.types import Floats, Ids, MetricType, Vectors

# Neighbours kept of each query: after deletes the ten nearest are found among them.
CANDIDATES = 100
CLUSTERED_ROWS, CLUSTERED_WIDTH = 100_000, 128
_CENTRES, _INNER = 100, 12
# So that nprobe 16 of nlist 1024 finds about 0.92.
_CENTRE_SPREAD, _INNER_SPREAD, _NOISE = 0.5, 0.75, 0.1


@dataclass(frozen=True)
class Dataset:
    """Base rows (n, d), queries (nq, d), and the row numbers of the 100 nearest base rows of each
    query.

    Under a binary metric rows are uint8, (n, d / 8).
    """

    name: str
    metric: MetricType
    train: Vectors
    queries: Vectors
    nearest: Ids

    @property
    def rows(self) -> int:
        return len(self.train)

    @property
    def dimension(self) -> int:
        return int(self.train.shape[1]) * (8 if self.metric.is_binary else 1)


def clustered(
    rows: int = CLUSTERED_ROWS, queries: int = 1000, dimension: int = CLUSTERED_WIDTH, seed: int = 1
) -> Dataset:
    """Rows around 100 centres, which are normal with deviation 0.5 in every dimension.

    Around its centre a row is normal in 12 random directions, the same for all centres (real
    embeddings vary in few directions too), of deviation 0.75 in a dimension, with noise of
    deviation 0.1 in every dimension. Queries are drawn like rows. numpy's PCG64 draws everything
    from `seed`, so the set is the same on every machine.
    """
    random = np.random.default_rng(seed)
    count = rows + queries
    centres = _CENTRE_SPREAD * random.standard_normal((_CENTRES, dimension), dtype=np.float32)
    directions = random.standard_normal((_INNER, dimension), dtype=np.float32) * np.float32(
        _INNER_SPREAD / _INNER**0.5
    )
    every = centres[random.integers(_CENTRES, size=count)]
    for part in np.array_split(np.arange(count), max(1, count // 50_000)):
        every[part] += random.standard_normal((len(part), _INNER), dtype=np.float32) @ directions
        every[part] += np.float32(_NOISE) * random.standard_normal(
            (len(part), dimension), dtype=np.float32
        )
    name = f"clustered{dimension}" if rows == CLUSTERED_ROWS else f"clustered{dimension} {rows}"
    return held_out(name, MetricType.L2, every, queries)


def from_file(path: Path, metric: MetricType, rows: int | None, queries: int) -> Dataset:
    """A .npy file of numbers, (rows, dimension); its last `queries` rows are searched for and not
    stored.

    Raises:
        ValueError: it is no such file, or too short.
    """
    stored = np.load(path, mmap_mode="r")
    if stored.ndim != 2 or len(stored) <= queries + CANDIDATES:
        raise ValueError(f"{path.name} must hold more than {queries + CANDIDATES} rows of numbers")
    wanted = min(len(stored), (rows or len(stored)) + queries)
    return held_out(
        path.stem, metric, np.ascontiguousarray(stored[len(stored) - wanted :], np.float32), queries
    )


def held_out(name: str, metric: MetricType, every: Floats, queries: int) -> Dataset:
    """The last `queries` rows ask for the others."""
    train, asked = (
        every[: len(every) - queries],
        np.ascontiguousarray(every[len(every) - queries :]),
    )
    return Dataset(name, metric, train, asked, nearest(train, asked, metric))


def nearest(train: Floats, queries: Floats, metric: MetricType) -> Ids:
    """Row numbers (nq, up to 100) by brute force, L2 or IP."""
    kind = faiss.METRIC_INNER_PRODUCT if metric is MetricType.IP else faiss.METRIC_L2
    _, rows = faiss.knn(queries, train, min(CANDIDATES, len(train)), metric=kind)
    return np.asarray(rows, np.int64)


def recall(data: Dataset, found: Ids, k: int = 10) -> float:
    """Mean share of the k nearest rows that are among the first k of `found` (nq, >= k), -1 meaning
    none.

    A row as near as the k-th nearest counts as one of them, a repeated row once.
    """
    hits = 0
    for query, true, answer in zip(data.queries, data.nearest, found, strict=True):
        rows = np.unique(answer[:k])
        rows = rows[rows >= 0]
        far = _distances(data, query, true[k - 1 : k])[0]
        hits += int(
            np.count_nonzero(_distances(data, query, rows) <= far + 1e-6 * max(1.0, abs(far)))
        )
    return hits / (k * len(found))


def _distances(data: Dataset, query: Floats, rows: Ids) -> np.ndarray:
    """float64 (rows,), smaller is nearer."""
    base, one = data.train[rows].astype(np.float64), query.astype(np.float64)
    return np.asarray(
        -(base @ one) if data.metric is MetricType.IP else np.sum((base - one) ** 2, axis=1)
    )
