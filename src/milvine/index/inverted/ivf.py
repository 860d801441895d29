"""Inverted files: rows in lists around centroids, of which a search reads the nearest few. What the
types share; each has a module of its own here.

Reported distances of IVF_FLAT are exact, and computed again only where faiss's own are not the same
to the last bit. Those of types with codes belong to the decoded codes (specification 3.13), but
where candidates are refined: then so many times the wanted hits are compared again with the
segment's own vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvine.index.agreement import lists_agree
from milvine.index.base import BuildJob, OpenIndex, Params, Report
from milvine.index.copies.chosen import LONGEST, distinct, sound_rows
from milvine.index.copies.duplicates import Groups, alike
from milvine.index.copies.members import Living, Nodes
from milvine.index.exact import search_exact
from milvine.index.flat import vectors_of
from milvine.index.image import Image, read_image, write_header, write_image
from milvine.index.inverted.gpu import CoarseGpu, on_gpu
from milvine.index.inverted.lists import Lists, coded, write_lists
from milvine.index.inverted.precomputed import TABLES
from milvine.index.inverted.prefetch import ListsAhead
from milvine.index.native import METRICS, faiss, parameters, portion_of, search_index
from milvine.index.native import read_image as read_faiss
from milvine.index.padding import wide, widened
from milvine.index.raw import OpenRaw
from milvine.index.refine import refined
from milvine.index.score import Found, for_finite, nothing, ordered
from milvine.index.spec import REFINE, Range, integer
from milvine.index.threads import use_threads
from milvine.limits import TRAINING_ROWS_PER_LIST_MIN
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

NLIST = Range("nlist", 1, 999_999)
NPROBE = Range("nprobe", 1, 999_999)

TRAINING_CODES = 100_000
"""Rows from which faiss learns the range of codes of a byte."""

_TRAINING_SHARE, _TRAINING_SHARE_CODES = 0.8, 0.3
"""The part of the memory that rows to learn from may take: on clustered rows, fewer cost recall."""

TRAINING_ROWS_PER_LIST_LEAST = 16
"""From fewer rows nothing is learnt, however little memory there is."""

PORTION_ROWS = 1 << 16
"""Rows that are added in one go: faiss says nothing meanwhile."""
_PORTION_BYTES = 64 << 20


def effective_nlist(nlist: int, rows: int) -> int:
    """Lists that are built when `nlist` are asked for: at least 40 rows each on average
    (specification 3.5).
    """
    return (
        nlist
        if nlist * TRAINING_ROWS_PER_LIST_MIN <= rows
        else max(1, rows // TRAINING_ROWS_PER_LIST_MIN)
    )


def learnt_at_most(most: int, nlist: int, row_bytes: int, exact: bool, memory: int) -> int:
    """Rows to learn from, of `most` that faiss would look at, where `memory` bytes may be used; 0:
    any number.

    `exact`: there are no codes to learn. For those faiss makes two more copies of rows.
    """
    if not memory:
        return most
    share = int(memory * (_TRAINING_SHARE if exact else _TRAINING_SHARE_CODES))
    return min(most, max(share // row_bytes, TRAINING_ROWS_PER_LIST_LEAST * nlist))


@dataclass(frozen=True, slots=True)
class Shape:
    """What the faiss index of one build looks like."""

    dimension: int
    rows: int
    nlist: int
    metric: int
    params: Params


RowFlags: TypeAlias = NDArray[np.bool_]
"""bool (rows,)."""
Make: TypeAlias = Callable[[Any, Shape], Any]
"""An untrained faiss index over a quantizer."""


class IvfKernel:
    """One of them, told apart by `make`; `exact` says that its codes are the vectors themselves.

    `hybrid`: lists are found on the GPU where faiss can use one, in building and in searching.
    `refine`: candidates that are compared exactly for each wanted hit where a search does not say
    how many; 0 for none. `of_bytes`: codes have a byte for each dimension. `packed`: faiss lays the
    codes of a list out in blocks, and keeps all in memory.
    """

    def __init__(
        self,
        make: Make,
        exact: bool = False,
        hybrid: bool = False,
        refine: int = 0,
        of_bytes: bool = False,
        packed: bool = False,
    ) -> None:
        self._make, self.exact, self.hybrid, self.refine = make, exact, hybrid, refine
        self._bytes, self._packed = of_bytes, packed

    def build(self, job: BuildJob) -> None:
        use_threads(job.threads)
        vectors, write, report = job.vectors, job.write, job.report
        nodes, groups = self._chosen(vectors, job.live, report)
        count = len(nodes)  # a single NaN makes training fail
        if not count:
            return write_image(write, len(vectors), 0, None)
        report("training", 0)
        index = self._trained(job, nodes)
        sound = np.zeros(len(vectors), dtype=bool)
        sound[nodes] = True
        if self._packed:
            _add_portions(index, vectors, sound, report)
            report("writing", 0)
            return write_image(write, len(vectors), count, index, groups=groups)
        lists = _assigned(index, vectors, sound, report)
        if self._written_otherwise(job, nodes, index, lists):
            return None
        write_header(write, len(vectors), count)
        codes = partial(self._codes, index, vectors, lists)
        write_lists(write, index, lists, 4 * index.d, codes, job.memory, report)

    def _written_otherwise(self, job: BuildJob, nodes: Ids, index: Any, lists: Lists) -> bool:
        """Whether a type has passed an image of its own making to `job.write`, made from an index
        whose lists are learnt and from the list of each node.
        """
        return False

    def _chosen(
        self, vectors: Floats, live: RowMask | None, report: Report
    ) -> tuple[Ids, Groups | None]:
        """The rows for the lists, ascending. Codes of few bits take rows for one another, and
        copies of one would be all the candidates of a search: then one row of each group.

        faiss ends the process when a row has no nearest centroid since all distances are infinite.
        """
        if not self._packed:
            return sound_rows(vectors, live, LONGEST), None
        report("grouping", 0)
        return distinct(vectors, live, LONGEST)

    def _trained(self, job: BuildJob, nodes: Ids) -> Any:
        """An index without rows whose lists are learnt from some of the nodes, and from no row
        twice.

        Among copies of one row, so many centroids would lie in one place that a search reads none
        but their lists, of which all but one are empty.
        """
        vectors, asked, count = job.vectors, integer(job.params, "nlist"), len(nodes)
        width = wide(vectors.shape[1]) if self._bytes else vectors.shape[1]
        shape = Shape(width, count, effective_nlist(asked, count), METRICS[job.metric], job.params)
        index = self._untrained(shape)
        chosen = _chosen(nodes, self._learnt(index, job.memory))
        learnt = alike(vectors, chosen).without_followers(chosen)
        different = effective_nlist(asked, count * len(learnt) // len(chosen))
        if different < index.nlist:
            index = self._untrained(replace(shape, nlist=different))
        if len(learnt) < TRAINING_ROWS_PER_LIST_LEAST * index.nlist:
            index.cp.min_points_per_centroid = 1
        if self.hybrid and (assigning := on_gpu(faiss.downcast_index(index.quantizer))) is not None:
            index.clustering_index = assigning  # k-means assigns rows to centroids there
        sample = widened(portion_of(vectors, learnt, 0, len(learnt)), width)
        # A codebook is not learnt from fewer rows than it has entries: rows are repeated.
        codes = _codebook(index)
        least = 0 if codes is None else codes.ksub
        if codes is not None:
            codes.cp.min_points_per_centroid = 1  # from fewer faiss would warn
        index.train(sample if len(sample) >= least else np.resize(sample, (least, width)))
        return index

    def _untrained(self, shape: Shape) -> Any:
        quantizer = faiss.IndexFlat(shape.dimension, shape.metric)
        index = self._make(quantizer, shape)
        quantizer.this.disown()
        index.own_fields = True
        # faiss warns where it learns from fewer rows than this for each centroid.
        index.cp.min_points_per_centroid = TRAINING_ROWS_PER_LIST_LEAST
        return index

    def _learnt(self, index: Any, memory: int) -> int:
        """As many rows as faiss looks at, or as there is memory for."""
        most, codes = index.cp.max_points_per_centroid * index.nlist, _codebook(index)
        if not self.exact:  # faiss learns codes from rows, too
            most = max(
                most,
                TRAINING_CODES,
                0 if codes is None else codes.cp.max_points_per_centroid * codes.ksub,
            )
        return learnt_at_most(most, index.nlist, 4 * index.d, self.exact, memory)

    def _codes(self, index: Any, vectors: Floats, lists: Lists, rows: Ids) -> Bytes:
        some = vectors[rows]
        if self.exact:
            return some.view(np.uint8)
        return coded(index, widened(some, index.d), lists.numbers[rows].astype(np.int64))

    def open(self, data: Bytes, flat: Bytes, metric: MetricType) -> OpenIndex:
        vectors = vectors_of(flat)
        image = read_image(data, len(vectors))
        return self._opened(image, flat, metric) if image.indexed else OpenRaw(vectors, metric)

    def _opened(self, image: Image, flat: Bytes, metric: MetricType) -> OpenIvf:
        return OpenIvf(image, flat, metric, self)


def _codebook(index: Any) -> Any:
    """The product quantizer of an index that has one."""
    return index.pq if isinstance(index, faiss.IndexIVFPQ | faiss.IndexIVFPQFastScan) else None


def _chosen(nodes: Ids, most: int) -> Ids:
    """So many of the nodes, one at random from each stretch of them; all where they are no more."""
    count = len(nodes)
    if count <= most:
        return nodes
    ends = np.arange(most + 1) * count // most
    return nodes[np.random.default_rng(0).integers(ends[:-1], ends[1:])]


def _assigned(index: Any, vectors: Floats, sound: RowFlags, report: Report) -> Lists:
    """The lists that the sound rows of a segment belong to."""
    lists = Lists.empty(len(vectors), index.nlist)
    quantizer = faiss.downcast_index(index.quantizer)
    for rows, some in _portions(vectors, sound, index.d, report):
        lists.put(rows, quantizer.assign(some, 1)[:, 0])
    return lists


def _add_portions(index: Any, vectors: Floats, sound: RowFlags, report: Report) -> None:
    """Put the sound rows of a segment into a trained index, under their numbers."""
    for rows, some in _portions(vectors, sound, index.d, report):
        index.add_with_ids(some, rows)


def _portions(
    vectors: Floats, sound: RowFlags, width: int, report: Report
) -> Iterator[tuple[Ids, Floats]]:
    """The numbers of the sound rows and those rows, widened, some at a time."""
    count = max(1, min(PORTION_ROWS, _PORTION_BYTES // (4 * width)))
    for start in range(0, len(vectors), count):
        report("adding", start)
        some, flags = vectors[start : start + count], sound[start : start + count]
        rows = start + np.flatnonzero(flags)
        if len(rows):
            yield rows, widened(some if len(rows) == len(some) else some[flags], width)


class OpenIvf:
    """An IVF index over the segment's rows; faiss's ids in the lists are row numbers."""

    def __init__(self, image: Image, flat: Bytes, metric: MetricType, kernel: IvfKernel) -> None:
        self._image, self._rows = image, image.rows  # the index points into the image
        self._index = read_faiss(image.body, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
        self._nlist, self._width = self._index.nlist, self._index.d  # faiss takes its time to tell
        coarse = on_gpu(faiss.downcast_index(self._index.quantizer)) if kernel.hybrid else None
        self._searched = self._index if coarse is None else CoarseGpu(self._index, coarse)
        self._vectors, self._metric, self._kernel = vectors_of(flat), metric, kernel
        self._nodes = Nodes(image)
        coded = image.table is not None
        self._again = kernel.exact and (coded or not lists_agree(self._width, metric))
        self._ahead: ListsAhead | None = None
        # What faiss returns is the answer, or in order to be.
        self._plain = (
            kernel.exact and not self._again and coarse is None and self._nodes.whole.groups is None
        )

    def precompute(self, most: int) -> None:
        if isinstance(self._index, faiss.IndexIVFPQ):
            TABLES.make(self._index, most)

    def read_ahead(self, most: int) -> None:
        lists = faiss.downcast_InvertedLists(self._index.invlists)
        if isinstance(lists, faiss.ArrayInvertedLists):  # others lie in memory
            self._ahead = ListsAhead(self._index, most)

    @property
    def rows(self) -> int:
        return self._rows

    def search(
        self, queries: Floats, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        use_threads(threads)
        nprobe = min(int(params["nprobe"]), self._nlist)
        living = self._nodes.whole if mask is None else self._nodes.living(mask)
        if mask is not None and living.nodes * self._nlist <= self._nodes.count * nprobe:
            # As few rows are live as the lists hold: comparing them all costs no more and finds k
            # of them.
            return search_exact(queries, self._vectors, self._metric, k, mask, threads)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self._plain and self._ahead is None and 0 not in np.isfinite(queries).tobytes():
            how = parameters("IVF", "nprobe", nprobe, living.mask)
            distances, rows = search_index(self._index, queries, min(k, self._rows), how)
            return ordered(distances, rows, self._metric, k)
        refine = (
            int(self._again) if self._kernel.exact else integer(params, REFINE, self._kernel.refine)
        )
        found = self._search if living.groups is None else self._answer
        return for_finite(queries, k, lambda some: found(some, k, nprobe, refine, living))

    def _answer(self, queries: Floats, k: int, nprobe: int, refine: int, living: Living) -> Found:
        found = self._search(queries, k, nprobe, refine, living)
        return living.answer(queries, self._vectors, self._metric, k, found)

    def _search(self, queries: Floats, k: int, nprobe: int, refine: int, living: Living) -> Found:
        how = parameters("IVF", "nprobe", nprobe, living.mask)
        if refine:
            wanted = min(k * refine, self._nodes.count)
            nominate = partial(self._candidates, wanted, nprobe, how)
            return refined(queries, self._vectors, self._metric, k, wanted, nominate)
        distances, rows = self._find(queries, min(k, self._rows), nprobe, how)
        if not self._kernel.exact and self._metric is MetricType.L2:
            # faiss adds up parts of codes, which may end a little below what is possible.
            np.maximum(distances, 0, out=distances)
        return ordered(distances, rows, self._metric, k)

    def _candidates(self, wanted: int, nprobe: int, how: Any, queries: Floats) -> Ids:
        return self._find(queries, wanted, nprobe, how)[1]

    def _find(self, queries: Floats, wanted: int, nprobe: int, how: Any) -> Found:
        """By the distances of the codes."""
        queries = widened(queries, self._width)
        if self._ahead is None:
            return self._nearest(queries, wanted, how)
        distances, rows = nothing(len(queries), wanted)
        step = self._ahead.queries_at_once(nprobe)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            self._ahead.ask(queries[part], nprobe)
            distances[part], rows[part] = self._nearest(queries[part], wanted, how)
        return distances, rows

    def _nearest(self, queries: Floats, wanted: int, how: Any) -> Found:
        if isinstance(self._searched, CoarseGpu):
            distances, rows = self._searched.search(queries, wanted, params=how)
            return distances, rows
        return search_index(self._searched, queries, wanted, how)
