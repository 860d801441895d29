"""What compressed indexes find, hold and cost, beside raw faiss: `python -m bench.codes`.

One segment, one thread, one query per call. Milvine's kernels and raw faiss read the same index
image, so recall tells of the refinement and time of what lies around faiss. Rounds take turns; time
is CPU time of this process, for other work may run beside it.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from bench import data as sets
from milvine.index.base import BuildJob, OpenIndex
from milvine.index.flat import flat_header
from milvine.index.image import read_image
from milvine.index.padding import widened
from milvine.index.registry import kernel
from milvine.types import Bytes, Floats, Ids, IndexType, MetricType

K, NLIST, NPROBE, LINKS, CONSTRUCTION, EF = 10, 1024, 16, 16, 100, 64
NOBODY = np.empty(0, np.int64)
T = IndexType


@dataclass(frozen=True)
class Way:
    """A type, and a way to search it. `raw`: candidates per wanted hit that raw faiss is to
    re-rank, 0 for none.
    """

    type: IndexType
    search: dict[str, int]
    raw: int = 0

    @property
    def name(self) -> str:
        return (
            f"{self.type} refine {self.search['refine']}"
            if "refine" in self.search
            else str(self.type)
        )


PROBE, WALK = {"nprobe": NPROBE}, {"ef": EF}
WAYS = (
    Way(T.IVF_FLAT, PROBE),
    Way(T.IVF_SQ8, PROBE),
    Way(T.IVF_SQ8, {**PROBE, "refine": 2}, 2),
    Way(T.IVF_PQ, PROBE),
    Way(T.IVF_PQ, {**PROBE, "refine": 8}, 8),
    Way(T.IVF_PQFS, {**PROBE, "refine": 4}, 4),
    Way(T.IVF_PQFS, {**PROBE, "refine": 8}, 8),
    Way(T.IVF_RABITQ, {**PROBE, "refine": 8}, 8),
    Way(T.IVF_RABITQ, {**PROBE, "refine": 16}, 16),
    Way(T.HNSW, WALK),
    Way(T.HNSW_SQ8, {**WALK, "refine": 2}, 2),
)


def build_params(kind: IndexType, dimension: int) -> dict[str, int]:
    if kind in (T.HNSW, T.HNSW_SQ8):
        return {"M": LINKS, "efConstruction": CONSTRUCTION}
    subspaces = 48 if dimension % 48 == 0 else 20
    return {"nlist": NLIST, **({"m": subspaces} if kind is T.IVF_PQ else {})}


def image_of(data: sets.Dataset, kind: IndexType, cache: Path, threads: int) -> Bytes:
    """Built once and kept in `cache`."""
    path = cache / f"{data.name}-{data.rows}-{kind}.index"
    if not path.exists():
        out, began = io.BytesIO(), time.process_time()
        params = build_params(kind, data.dimension)
        kernel(kind).build(BuildJob(data.train, data.metric, params, out.write, threads))
        path.write_bytes(out.getvalue())
        print(f"built {path.name} in {time.process_time() - began:.0f} s of CPU", flush=True)
    return np.fromfile(path, np.uint8)


class Raw:
    """faiss in process over the same image; HNSW over vectors, which its image leaves out, gets
    them as storage.
    """

    def __init__(self, data: sets.Dataset, way: Way, image: Bytes, flat: Bytes) -> None:
        self._data, self._way, self._flat, parts = data, way, flat, read_image(image, data.rows)
        self._body, self._row_map = parts.body, parts.row_map
        self._index = self._read(
            self._body, faiss.IO_FLAG_SKIP_STORAGE if way.type is T.HNSW else 0
        )
        if way.type is T.HNSW:
            self._storage = self._read(flat)
            self._index.storage, self._index.own_fields = self._storage, False
        self._how = (
            faiss.SearchParametersHNSW(efSearch=EF)
            if "ef" in way.search
            else faiss.SearchParametersIVF(nprobe=NPROBE)
        )

    @staticmethod
    def _read(image: Bytes, flags: int = 0) -> Any:
        return faiss.read_index(
            faiss.ZeroCopyIOReader(faiss.swig_ptr(image), image.size),
            faiss.IO_FLAG_MMAP_IFC | flags,
        )

    def search(self, query: Floats) -> Ids:
        """Row numbers (1, K), nearest first."""
        # Codes of a byte; faiss over 100 dimensions is several times as slow.
        wide = widened(query, self._index.d)
        _, rows = self._index.search(wide, K * max(1, self._way.raw), params=self._how)
        rows = rows if self._row_map is None else np.where(rows < 0, -1, self._row_map[rows])
        return np.asarray(self._nearest(query, rows) if self._way.raw else rows, np.int64)

    def _nearest(self, query: Floats, rows: Ids) -> Ids:
        """What a program beside raw faiss would write."""
        found = rows[rows >= 0]
        vectors = self._data.train[found]
        if self._data.metric is MetricType.IP:
            order = np.argsort(-(vectors @ query[0]))[:K]
        else:
            order = np.argsort(((vectors - query) ** 2).sum(axis=1))[:K]
        return found[order][None]


def timed(search: Callable[[Floats], Ids], queries: Floats) -> tuple[float, Ids]:
    """CPU seconds per query, and all that was found."""
    began = time.process_time()
    found = [search(queries[i : i + 1]) for i in range(len(queries))]
    spent = time.process_time() - began
    return spent / len(queries), np.concatenate(
        [np.pad(f, ((0, 0), (0, K - f.shape[1])), constant_values=-1) for f in found]
    )


def measured(data: sets.Dataset, rounds: int, cache: Path, threads: int) -> Iterator[str]:
    flat = np.frombuffer(
        flat_header(data.dimension, data.rows, data.metric) + data.train.tobytes(), np.uint8
    )
    images = {
        kind: image_of(data, kind, cache, threads)
        for kind in dict.fromkeys(way.type for way in WAYS)
    }
    faiss.omp_set_num_threads(1)
    ours: list[OpenIndex] = [
        kernel(way.type).open(images[way.type], flat, data.metric) for way in WAYS
    ]
    raws = [Raw(data, way, images[way.type], flat) for way in WAYS]
    seconds, recalls = np.full((2, len(WAYS), rounds), np.inf), np.zeros((2, len(WAYS)))
    for round_ in range(rounds):
        for i, (way, index, raw) in enumerate(zip(WAYS, ours, raws, strict=True)):
            mine = lambda query, index=index, way=way: index.search(query, K, way.search, None)[1]  # noqa: E731
            for side, search in enumerate((mine, raw.search)):
                seconds[side, i, round_], found = timed(search, data.queries)
                if not round_:
                    recalls[side, i] = sets.recall(data, found, NOBODY, K)
    best = np.median(seconds, axis=2)
    yield f"{data.name}, {data.rows} rows, {data.dimension} dimensions, {data.metric}"
    for i, way in enumerate(WAYS):
        held = images[way.type].size / data.rows + (4 * data.dimension if way.type is T.HNSW else 0)
        yield (
            f"| {way.name} | {held:.0f} | {recalls[0, i]:.4f} / {recalls[1, i]:.4f} |"
            f" {1 / best[0, i]:,.0f} / {1 / best[1, i]:,.0f} |"
            f" {1e6 * (best[0, i] - best[1, i]):+.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=["wordnet", "glove"])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of the builds; searches have one")
    parser.add_argument(
        "--cache", type=Path, default=sets.ROOT / "bench" / "out" / "work" / "codes"
    )
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    for name in options.sets:
        data = sets.load(name, options.rows, options.queries)
        for line in measured(data, options.rounds, options.cache, options.threads):
            print(line, flush=True)


if __name__ == "__main__":
    main()
