"""RNSG: a graph of neighbours with one level, from faiss's NSG over a k-NN graph of our own.

NSG prunes what it finds by walking the k-NN graph. On clustered rows that graph falls apart into
the clusters, walks end in the cluster where they begin, and the pruned graph has few ways between
clusters. So every row also gets its nearest rows in a sample of a quarter of all, in one of a
sixteenth, and so on: bridges of every length, at a third of the cost of the k-NN graph.

The pruned graph is kept as the lowest level of an HNSW index. The levels above it are an HNSW graph
of a sample, from where a walk comes down in the right cluster. faiss searches that with parameters
and selectors per call, which its own NSG cannot, and the file needs no vectors. Under inner product
the graph is made of rows with one more dimension, which gives all of them the same length: nearest
by L2 and largest by inner product are then the same rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from milvine.index.base import BuildJob, OpenIndex, Params, Report, untold
from milvine.index.copies.chosen import Chosen
from milvine.index.exact import search_exact
from milvine.index.graphs.hidden import hide_rows
from milvine.index.graphs.hnsw import GraphSizes
from milvine.index.graphs.links import slots
from milvine.index.graphs.opened import open_graph, write_graph
from milvine.index.native import METRICS, faiss, squared_norms
from milvine.index.spec import IndexInput, IndexSpec, Range, integer
from milvine.index.threads import use_threads
from milvine.types import Bytes, Floats, Ids, MetricType

_ROWS_MIN = 256
"""Of fewer, a graph is built as for HNSW: NSG's own would hardly differ."""
_SPARSER = 4
_BRIDGES = 8
_SAMPLE_MIN = 4
_PORTION = 2048
EXACT_ROWS = 100_000
"""From here on neighbours are looked up in an HNSW graph: comparing all pairs would take longer."""
_SPARE = 32
_CONSTRUCTION = 100
_DEGREE_MIN = 16
"""faiss ties rows that no walk reaches to a row with a place left, and looks until it finds one:
there must be some.
"""
_SMALL = 1e-12
_LENGTHENED = 0.9


class NsgKernel:
    def build(self, job: BuildJob) -> None:
        use_threads(job.threads)
        job.report("grouping", 0)
        nodes = Chosen.of(job.vectors, job.metric, job.live)
        count = len(nodes.linked)
        if not count:
            return write_graph(job.write, None, len(job.vectors), nodes)
        points = job.vectors if count == len(job.vectors) else job.vectors[nodes.linked]
        index = _pruned(job, points) if count >= _ROWS_MIN else _small(job, points)
        job.report("writing", 0)
        write_graph(job.write, index, len(job.vectors), nodes)

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        return open_graph(data, flat, metric, "search_length")


def _degree(params: Params) -> int:
    return max(integer(params, "out_degree"), _DEGREE_MIN)


def _pruned(job: BuildJob, vectors: Floats) -> Any:
    """An HNSW index over some of the rows, without them."""
    points = _of_usual_size(vectors)
    points = _of_one_length(points) if job.metric is MetricType.IP else points
    knng = integer(job.params, "knng")
    columns, samples = neighbour_graph(points, knng, job.threads, job.report)
    use_threads(job.threads)
    degree = _degree(job.params)
    nsg = faiss.IndexNSGFlat(points.shape[1], degree)
    nsg.nsg.L = max(integer(job.params, "search_length"), degree)
    nsg.nsg.C = max(integer(job.params, "candidate_pool_size"), degree)
    job.report("pruning", 0)
    nsg.build(points, np.concatenate(columns, axis=1))
    job.report("linking", 0)
    graph = nsg.nsg.get_final_graph()
    links = faiss.rev_swig_ptr(graph.data, graph.N * graph.K).reshape(graph.N, graph.K)
    index = faiss.IndexHNSWFlat(vectors.shape[1], (degree + 1) // 2, METRICS[job.metric])
    _with_levels_above(index.hnsw, points, links, samples[0])
    index.ntotal = len(vectors)
    return index


def _small(job: BuildJob, vectors: Floats) -> Any:
    """An HNSW index over few vectors."""
    job.report("linking", 0)
    links = (_degree(job.params) + 1) // 2
    index = faiss.IndexHNSWFlat(vectors.shape[1], links, METRICS[job.metric])
    index.hnsw.efConstruction = _CONSTRUCTION
    index.add(np.ascontiguousarray(vectors))
    return index


def _with_levels_above(hnsw: Any, points: Floats, links: Ids, sample: Ids) -> None:
    """Fill a graph: `links` (rows, degree) is the lowest level, above it stands an HNSW graph of a
    sample.
    """
    # The lowest level of a graph has twice the slots of the others.
    above = faiss.IndexHNSWFlat(points.shape[1], hnsw.nb_neighbors(1) // 2)
    above.hnsw.efConstruction = _CONSTRUCTION
    above.add(np.ascontiguousarray(points[sample]))
    heights = faiss.vector_to_array(above.hnsw.levels)
    levels = np.ones(len(points), dtype=np.int32)
    levels[sample] += heights
    faiss.copy_array_to_vector(levels, hnsw.levels)
    hnsw.prepare_level_tab(len(points), True)
    table, places = slots(hnsw, 0, np.arange(len(points)))
    table[places[:, : links.shape[1]]] = links
    for level in range(above.hnsw.max_level + 1):
        some = np.flatnonzero(heights > level)
        linked, places = slots(above.hnsw, level, some)
        found = linked[places]
        table, places = slots(hnsw, level + 1, sample[some])
        table[places[:, : found.shape[1]]] = np.where(found < 0, -1, sample[np.maximum(found, 0)])
    hnsw.entry_point, hnsw.max_level = int(sample[above.hnsw.entry_point]), above.hnsw.max_level + 1


def neighbour_graph(
    points: Floats, neighbours: int, threads: int, report: Report = untold
) -> tuple[list[Ids], list[Ids]]:
    """For each row its nearest rows, and its nearest in ever sparser samples: int64 (rows, k) each;
    and the samples.

    Never the row itself. Each sample lies within the one before it.
    """
    rows = len(points)
    columns = [_nearest_others(points, np.arange(rows), min(neighbours, rows - 1), threads, report)]
    samples: list[Ids] = []
    sample = np.arange(rows)
    while len(sample) // _SPARSER >= _SAMPLE_MIN:
        sample = np.sort(np.random.default_rng(len(samples)).permutation(sample)[::_SPARSER])
        samples.append(sample)
        columns.append(
            _nearest_others(points, sample, min(_BRIDGES, len(sample) - 1), threads, report)
        )
    return columns, samples


def _nearest_others(points: Floats, sample: Ids, k: int, threads: int, report: Report) -> Ids:
    """The k nearest rows of a sample for every row, without the row itself: int64 (rows, k)."""
    chosen = points if len(sample) == len(points) else np.ascontiguousarray(points[sample])
    graph = _hnsw(chosen) if len(chosen) > EXACT_ROWS else None
    out = np.empty((len(points), k), dtype=np.int64)
    for start in range(0, len(points), _PORTION):
        report("neighbours" if len(sample) == len(points) else "bridges", start)
        some = points[start : start + _PORTION]
        if graph is None:
            _, found = search_exact(some, chosen, MetricType.L2, k + 1, threads=threads)
        else:
            _, found = graph.search(
                some, k + 1, params=faiss.SearchParametersHNSW(efSearch=k + _SPARE)
            )
        found = sample[np.maximum(found, 0)]
        itself = found == np.arange(start, start + len(some))[:, None]
        # Twins may crowd a row out of its own list.
        left_out = np.where(itself.any(axis=1), itself.argmax(axis=1), k)
        others = np.arange(k + 1) != left_out[:, None]
        out[start : start + len(some)] = found[others].reshape(len(some), k)
    return out


def _hnsw(points: Floats) -> Any:
    graph = faiss.IndexHNSWFlat(points.shape[1], 16)
    graph.hnsw.efConstruction = _CONSTRUCTION
    graph.add(points)
    return graph


def _of_usual_size(vectors: Floats) -> Floats:
    """The rows times a power of two, when all are so small that squares of them vanish: else all
    are in one place.
    """
    largest = float(np.abs(vectors).max())
    if largest == 0 or largest >= _SMALL:
        return vectors
    return np.asarray(np.ldexp(vectors, -int(np.frexp(largest)[1])), dtype=np.float32)


def _of_one_length(vectors: Floats) -> Floats:
    """The rows with one more dimension, which brings all but the longest tenth to the length of
    those.

    To the length of the very longest, the new dimension would outweigh the others: over word
    vectors of all lengths 15 in 100 neighbours were missed, with this 9.
    """
    squares = squared_norms(vectors)
    missing = np.maximum(np.quantile(squares, _LENGTHENED) - squares, 0)
    return np.column_stack([vectors, np.sqrt(missing)]).astype(np.float32)


class NsgSizes(GraphSizes):
    def links(self, of: IndexInput) -> int:
        m = (_degree(of.params) + 1) // 2
        sample = -(-of.rows // _SPARSER)
        return of.rows * 2 * m + round(sample * m * (1 + 1 / (m // 2 - 1)))

    def building(self, of: IndexInput, memory: int = 0) -> int:
        """k-NN graph with bridges, twice while it is joined, then beside rows and pruned graph;
        last the graph to keep.
        """
        rows, points, degree = of.rows, of.bytes, _degree(of.params)
        samples = max(0, math.floor(math.log(rows / _SAMPLE_MIN, _SPARSER)))
        neighbours = 8 * rows * (integer(of.params, "knng") + _BRIDGES * samples)
        pruning = neighbours + rows * degree * (8 + 4)
        keeping = 4 * rows * degree + 4 * self.links(of) + 2 * 8 * rows * (degree + 1)
        lengthened = points if of.metric is MetricType.IP else 0
        return 12 * rows + neighbours + points + max(pruning, keeping) + lengthened


_SEARCH_LENGTH = Range("search_length", 10, 300)

SPECS = (
    IndexSpec(
        number=4,
        name="RNSG",
        kernel=NsgKernel(),
        build=(
            _SEARCH_LENGTH,
            Range("out_degree", 5, 300),
            Range("candidate_pool_size", 50, 1000),
            Range("knng", 5, 300),
        ),
        search=(_SEARCH_LENGTH,),
        breadth=_SEARCH_LENGTH.breadth(hide_rows, per_hit=1),
        sizes=NsgSizes(),
        stats_name="NSG",
    ),
)
