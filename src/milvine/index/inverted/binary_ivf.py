"""IVF_FLAT of binary collections: rows in lists around centroids, of which a search reads the
nearest few.

The lists are made and chosen by the metric they serve: fingerprints have few set bits, and by
Hamming distance the sparsest centroid is near to everything, so its list is crowded and its rows
are far from the query's neighbours. All distances are exact.

The image after its row map (the rows in list order): number of lists u64, width u64, then the rows
before each list and their total as int64 (lists + 1), the centroids (lists, width) and the rows
(indexed, width), uint8.
"""

from __future__ import annotations

import struct

import numpy as np

from milvine.errors import CorruptFile, Unsupported
from milvine.index.base import BuildJob, OpenIndex, Params, Report
from milvine.index.binary import Nearest, bit_distances, search_bits
from milvine.index.flat import bits_of
from milvine.index.image import IMAGE_HEADER_BYTES, Image, read_image, write_header
from milvine.index.inverted.ivf import NLIST, NPROBE, effective_nlist
from milvine.index.inverted.ivf_sizes import lists
from milvine.index.inverted.lists import ROW_BYTES, Lists, buffer_rows
from milvine.index.native import faiss
from milvine.index.raw import OpenRaw
from milvine.index.score import Found
from milvine.index.spec import BINARY_METRICS, IndexInput, IndexSpec, Sizes, integer
from milvine.index.threads import use_threads
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

_SHAPE = struct.Struct("<QQ")
_TRAINING_ROWS_PER_LIST = 64
_TRAINING_BYTES = 512 << 20
"""Training takes 4 bytes a bit."""
_PAIRS = 1 << 22
_COARSE = {
    MetricType.HAMMING: MetricType.HAMMING,
    MetricType.JACCARD: MetricType.JACCARD,
    MetricType.TANIMOTO: MetricType.JACCARD,  # ranks alike
}


class BinaryIvfKernel:
    def build(self, job: BuildJob) -> None:
        vectors, write, report = job.vectors, job.write, job.report
        if job.metric not in _COARSE:
            raise Unsupported(
                f"Illegal index params: IVF_FLAT does not serve {job.metric.name}, FLAT does"
            )
        use_threads(job.threads)
        rows = np.arange(len(vectors)) if job.live is None else np.flatnonzero(job.live.to_bool())
        if not len(rows):
            return write_header(write, len(vectors), 0)
        report("training", 0)
        centroids = _train(vectors, rows, integer(job.params, "nlist"), job.memory)
        filled = _nearest_centroid(vectors, rows, centroids, _COARSE[job.metric], report)
        report("writing", 0)
        some = buffer_rows(vectors.shape[1], len(vectors), job.memory)
        write_header(write, len(vectors), len(rows), mapped=True)
        for portion in filled.portions(some):
            write(portion.in_order().astype("<i8").tobytes())
        write(_SHAPE.pack(len(centroids), vectors.shape[1]))
        write(np.append(0, np.cumsum(filled.sizes)).astype("<i8").tobytes())
        write(centroids.tobytes())
        for portion in filled.portions(some):
            in_order = np.empty((len(portion.rows), vectors.shape[1]), dtype=np.uint8)
            in_order[portion.places] = vectors[portion.rows]
            write(in_order.tobytes())

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        vectors = bits_of(flat)
        image = read_image(data, len(vectors))
        return OpenBinaryIvf(image, vectors, metric) if image.indexed else OpenRaw(vectors, metric)


def training_rows(rows: int, nlist: int, bits: int, memory: int = 0) -> int:
    """How many of so many rows are learnt from."""
    size = min(_TRAINING_BYTES, memory // 2) if memory else _TRAINING_BYTES
    return min(rows, max(nlist, min(_TRAINING_ROWS_PER_LIST * nlist, size // (4 * bits))))


def _train(vectors: Bytes, rows: Ids, nlist: int, memory: int) -> Bytes:
    """Different centroids, uint8 (about nlist, width), by k-means of faiss over a sample without
    copies.

    Centroids that are equal would be read together, and all rows be in the list of one of them.
    """
    bits = 8 * vectors.shape[1]
    most = training_rows(len(rows), effective_nlist(nlist, len(rows)), bits, memory)
    if len(rows) > most:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]
    sample = np.unique(vectors[rows], axis=0)
    lists = effective_nlist(nlist, len(rows) if len(sample) == len(rows) else len(sample))
    quantizer = faiss.IndexBinaryFlat(bits)
    index = faiss.IndexBinaryIVF(quantizer, bits, lists)
    index.cp.min_points_per_centroid = 1
    index.train(np.ascontiguousarray(sample))
    centroids: Bytes = np.unique(faiss.vector_to_array(quantizer.xb).reshape(lists, -1), axis=0)
    return centroids


def _nearest_centroid(
    vectors: Bytes, rows: Ids, centroids: Bytes, metric: MetricType, report: Report
) -> Lists:
    lists = Lists.empty(len(vectors), len(centroids))
    portion = max(1, _PAIRS // len(centroids))
    for start in range(0, len(rows), portion):
        report("adding", start)
        some = rows[start : start + portion]
        lists.put(some, bit_distances(vectors[some], centroids, metric).argmin(axis=1))
    return lists


class OpenBinaryIvf:
    """The lists of an image, as views of it."""

    def __init__(self, image: Image, vectors: Bytes, metric: MetricType) -> None:
        self._vectors, self._metric = vectors, metric
        nlist, width = _SHAPE.unpack(image.body[: _SHAPE.size].tobytes())
        ends = np.cumsum([_SHAPE.size, 8 * (nlist + 1), nlist * width, image.indexed * width])
        if image.row_map is None or width != vectors.shape[1] or image.body.size < ends[-1]:
            raise CorruptFile(f"An index file does not hold {nlist} lists of {image.indexed} rows")
        self._row_map = image.row_map
        self._starts = np.frombuffer(image.body[ends[0] : ends[1]], dtype="<i8")
        self._centroids = image.body[ends[1] : ends[2]].reshape(nlist, width)
        self._listed = image.body[ends[2] : ends[3]].reshape(-1, width)

    @property
    def rows(self) -> int:
        return len(self._vectors)

    def search(
        self, queries: Bytes, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        nlist = len(self._centroids)
        nprobe = min(integer(params, "nprobe"), nlist)
        if nprobe == nlist or (
            mask is not None and mask.live * nlist <= len(self._row_map) * nprobe
        ):
            # All lists, or as few live rows as the lists hold: comparing them all costs no more and
            # finds k of them.
            return search_bits(queries, self._vectors, self._metric, k, mask, threads)
        use_threads(threads)
        coarse = bit_distances(queries, self._centroids, _COARSE[self._metric])
        probed = nearest_lists(coarse, nprobe)
        nearest = Nearest(len(queries), k)
        for query, near in enumerate(np.sort(probed, axis=1)):
            listed, rows = self._members(near)
            distances = bit_distances(queries[query : query + 1], listed, self._metric)[0]
            if mask is not None:
                distances[~mask.contains(rows)] = np.nan
            nearest.offer(query, distances, rows)
        return nearest.found()

    def _members(self, lists: Ids) -> tuple[Bytes, Ids]:
        """The vectors and row numbers in some lists."""
        spans = [slice(self._starts[each], self._starts[each + 1]) for each in lists]
        return np.concatenate([self._listed[s] for s in spans]), np.concatenate(
            [self._row_map[s] for s in spans]
        )


def nearest_lists(coarse: Floats, nprobe: int) -> Ids:
    """The nearest lists of each query, (nq, nprobe), among them the first of the nearest: equal
    rows are in that.
    """
    probed = np.argpartition(coarse, nprobe - 1, axis=1)[:, :nprobe]
    first = coarse.argmin(axis=1)
    without = ~(probed == first[:, None]).any(axis=1)
    probed[without, -1] = first[without]
    return probed


class BinaryListSizes(Sizes):
    def image(self, of: IndexInput) -> int:
        nlist = lists(of)
        numbers = 8 * of.rows + _SHAPE.size + 8 * (nlist + 1)
        return IMAGE_HEADER_BYTES + numbers + (nlist + of.rows) * of.row_bytes

    def building(self, of: IndexInput, memory: int = 0) -> int:
        # Bits as floats.
        training = 4 * of.dimension * training_rows(of.rows, lists(of), of.dimension, memory)
        portion = min(of.rows, buffer_rows(of.row_bytes, of.rows, memory))
        return 4 * of.rows + max(training, portion * (2 * of.row_bytes + ROW_BYTES))


SPECS = (
    IndexSpec(
        number=2,
        name="IVF_FLAT",
        kernel=BinaryIvfKernel(),
        metrics=BINARY_METRICS,  # as in 1.x, which takes the setting and builds by three of them
        build=(NLIST,),
        search=(NPROBE,),
        breadth=NPROBE.breadth(),
        sizes=BinaryListSizes(),
        other_names=("IVFLAT",),
    ),
)
