"""What copies change: `python -m bench.copies`.

Rows of a real set are overwritten by copies of others, by rows that differ from them by 1e-7 in
each dimension, or by zeros. For each type, metric and share: how many rows (of a sample of all of
them) find themselves or a row equal to them, recall@10 of the set's queries, and processor seconds
of building, beside the same rows without copies. One segment.

The zeros of IP are left out: they are as near to every query as any other row of length 0.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bench import data as sets
from bench.report import Report
from milvine.index.base import BuildJob, OpenIndex
from milvine.index.exact import search_exact
from milvine.index.flat import flat_header
from milvine.index.registry import kernel
from milvine.types import Floats, Ids, IndexType, MetricType

K, ASKED = 10, 2000
GRAPH = {"M": 16, "efConstruction": 200}
NSG = {"search_length": 60, "out_degree": 32, "candidate_pool_size": 200, "knng": 50}
T = IndexType
WAYS: Mapping[IndexType, tuple[dict[str, int], dict[str, int]]] = {
    T.HNSW: (GRAPH, {"ef": 64}),
    T.HNSW_SQ8: (GRAPH, {"ef": 64}),
    T.RNSG: (NSG, {"search_length": 64}),
    T.ANNOY: ({"n_trees": 16}, {"search_k": 2000}),
    T.IVF_FLAT: ({"nlist": 256}, {"nprobe": 16}),
    T.IVF_SQ8: ({"nlist": 256}, {"nprobe": 16}),
    T.IVF_PQ: ({"nlist": 256, "m": 48}, {"nprobe": 16, "refine": 8}),
    T.IVF_PQFS: ({"nlist": 256}, {"nprobe": 16}),
    T.IVF_RABITQ: ({"nlist": 256}, {"nprobe": 16}),
}


@dataclass(frozen=True)
class Copies:
    """`share` of the rows are copies of `originals` rows (0: of zeros), `apart` from them in each
    dimension.
    """

    share: float
    originals: int
    apart: float = 0.0

    @property
    def name(self) -> str:
        kind = f"of {self.originals}" if self.originals else "zeros"
        return (
            "none"
            if not self.share
            else f"{self.share:.0%} {kind}" + (" nearly" if self.apart else "")
        )

    def over(self, rows: Floats) -> Floats:
        out, drawn = rows.copy(), np.random.default_rng(0)
        places = drawn.choice(len(rows), int(self.share * len(rows)), replace=False)
        if not self.originals:
            out[places] = 0
            return out
        sources = drawn.choice(len(rows), self.originals, replace=False)
        noise = self.apart * drawn.standard_normal((len(places), rows.shape[1]))
        out[places] = rows[sources[np.arange(len(places)) % len(sources)]] + noise
        return out


NONE = Copies(0.0, 1)
CASES = (
    NONE,
    *(
        Copies(share, originals, apart)
        for share in (0.01, 0.1, 0.5, 0.99)
        for originals, apart in ((1, 0.0), (100, 0.0), (1, 1e-7), (0, 0.0))
    ),
)


def measured(
    rows: Floats, queries: Floats, kind: IndexType, metric: MetricType
) -> Iterator[tuple[str, list[float]]]:
    """For each case its name, the share that find themselves, recall and seconds of the build."""
    build, how = WAYS[kind]
    for case in CASES:
        if metric is MetricType.IP and not case.originals:
            continue
        vectors = case.over(rows)
        out, began = io.BytesIO(), time.process_time()
        kernel(kind).build(BuildJob(vectors, metric, build, out.write))
        seconds = time.process_time() - began
        flat = np.frombuffer(
            flat_header(vectors.shape[1], len(vectors), metric) + vectors.tobytes(), np.uint8
        )
        index = kernel(kind).open(np.frombuffer(out.getvalue(), np.uint8), flat, metric)
        found = [
            found_themselves(index, vectors, metric, how),
            recall(index, vectors, queries, metric, how),
        ]
        yield case.name, [*found, seconds]


def found_themselves(
    index: OpenIndex, vectors: Floats, metric: MetricType, how: Mapping[str, int]
) -> float:
    asked = vectors[
        np.random.default_rng(1).choice(len(vectors), min(ASKED, len(vectors)), replace=False)
    ]
    _, rows = index.search(asked, 1, how, None)
    apart = np.linalg.norm(asked.astype(np.float64) - vectors[rows[:, 0]], axis=1)
    return float(np.mean((rows[:, 0] >= 0) & (apart <= 1e-5)))


def recall(
    index: OpenIndex, vectors: Floats, queries: Floats, metric: MetricType, how: Mapping[str, int]
) -> float:
    """Rows as near as the last of the true ones count: copies stand for each other."""
    truth = _distances(queries, vectors, search_exact(queries, vectors, metric, K)[1], metric)[
        :, -1:
    ]
    rows = index.search(queries, K, how, None)[1]
    return float(
        np.mean((rows >= 0) & (_distances(queries, vectors, rows, metric) <= truth + 1e-6))
    )


def _distances(queries: Floats, vectors: Floats, rows: Ids, metric: MetricType) -> np.ndarray:
    """float64, shape of `rows`, smaller is nearer."""
    near, asked = (
        vectors[np.maximum(rows, 0)].astype(np.float64),
        queries[:, None].astype(np.float64),
    )
    return np.asarray(
        -(near * asked).sum(axis=2)
        if metric is MetricType.IP
        else ((near - asked) ** 2).sum(axis=2)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.copies", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--set", default="wordnet")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--types", nargs="+", default=[kind.name for kind in WAYS])
    parser.add_argument("--metrics", nargs="+", default=["L2", "IP"])
    options = parser.parse_args()
    data = sets.load(options.set, options.rows, options.queries)
    report = Report("copies", {"set": data.name, "rows": data.rows, "queries": len(data.queries)})
    for kind in (IndexType[name] for name in options.types):
        for metric in (MetricType[name] for name in options.metrics):
            for case, (found, near, seconds) in measured(data.train, data.queries, kind, metric):
                row = {"type": kind.name, "metric": metric.name, "copies": case}
                report.add(
                    **row, **{"find themselves": found, "recall@10": near, "build CPU s": seconds}
                )
    report.save()


if __name__ == "__main__":
    main()
