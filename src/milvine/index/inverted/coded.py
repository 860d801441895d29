"""IVF_FLAT without its rows in the lists: four bits for each of their dimensions instead, and the
candidates of a search compared with the segment's own rows.

How many candidates a search takes was measured when the index was built (`trial`). Where what they
show says that they may not be enough for a query (`margins`), more are taken; and where nearly as
many rows would have to be compared as the lists hold, those are.

A code for each dimension and not for two, which is half as large, since it takes a third of the
candidates, and searches for many hits are made of those.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from milvine.index.base import BuildJob, Params
from milvine.index.copies.chosen import LONGEST, distinct
from milvine.index.copies.duplicates import Groups
from milvine.index.copies.members import COMPARED_MAX, Living
from milvine.index.exact import search_exact
from milvine.index.flat import vectors_of
from milvine.index.image import Image
from milvine.index.inverted.blocks import fill
from milvine.index.inverted.candidates import Candidates
from milvine.index.inverted.centre import centre_of
from milvine.index.inverted.fast_scan import OpenFastScan
from milvine.index.inverted.ivf import IvfKernel
from milvine.index.inverted.ivf_sizes import CODE_BITS
from milvine.index.inverted.lists import Lists
from milvine.index.inverted.margins import Margins, Requirement, places, weights_of
from milvine.index.inverted.trial import Trial
from milvine.index.native import KEPT_MAX, METRICS, faiss, parameters, pointer
from milvine.index.refine import at_a_time, refined
from milvine.index.score import Found, in_portions, nearest_of, ordered, rises, settled
from milvine.index.threads import use_threads
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

DIMENSIONS_LEAST = 32
"""With fewer, comparing a row takes no longer than finding it among the candidates."""
ROWS_LEAST = 1024
LEARNT = 8192
"""Rows that codes are learnt from."""
_ROUNDS = 32
_MOST_A_HIT = ((10, 16), (100, 8), (1000, 5))
"""Of so many hits, so many candidates for each at most: with more, comparing them takes as long as
the rows of the lists would."""

_LISTED, _LISTED_DIMENSION = 90.0, 0.08
"""Nanoseconds of one core that a row of a list takes, and more for each dimension; these and the
next were fitted to searches for 1 to 500 hits of one query over 1 to 32 lists of 150 to 180 rows,
of 128 and 384 dimensions.
"""
_CANDIDATE, _CANDIDATE_DIMENSION = 150.0, 0.15
"""The same of a candidate."""
_LISTED_MORE = 13_000.0
"""Nanoseconds more that a query takes before its lists are compared than before its candidates."""
_WIDER, _FARTHER = 4, 1.8
"""A search that shows too little takes so many times the candidates, and these must reach so many
times as far, as those of a query like the rows do.
"""
_SCATTERED = 5
"""Comparisons of rows here and there take so many times those of rows in a row, and more."""


class CodedLists(NamedTuple):
    """An index of codes, the groups that its rows stand for, and how many candidates it takes."""

    index: Any
    groups: Groups
    candidates: Candidates


def serves(rows: int, dimension: int) -> bool:
    """Whether codes may pay for so many rows."""
    return rows >= ROWS_LEAST and dimension >= DIMENSIONS_LEAST


def coded(job: BuildJob, rows: Ids, plain: Any, lists: Lists) -> CodedLists | None:
    """Codes of the sound `rows` in their `lists` of a trained index, which must outlive them; None
    where they would find less or take longer than the rows themselves.
    """
    job.report("grouping", 0)
    heads, groups = distinct(job.vectors, job.live, LONGEST)
    blurred = (groups.radii > 0) & (np.diff(groups.starts) > COMPARED_MAX)
    if blurred.any() or len(heads) < ROWS_LEAST:
        return None
    index = _untrained(job, plain)
    job.report("training", 0)
    book, margins = _learn(index, job, heads)
    filled = lists if len(heads) == len(rows) else lists.of(heads)
    fill(index, book, job.vectors, filled, job.memory, job.report)
    job.report("measuring", 0)
    by = partial(_nominated, index)
    stands = _standing(len(job.vectors), groups)
    trial = Trial(job.vectors, job.live, rows, stands, job.metric, margins, by, job.threads)
    found = trial.measured()
    return CodedLists(index, groups, found) if _pays(found) else None


def _untrained(job: BuildJob, plain: Any) -> Any:
    dimension, metric = job.vectors.shape[1], METRICS[job.metric]
    index = faiss.IndexIVFPQFastScan(
        plain.quantizer, dimension, plain.nlist, dimension, CODE_BITS, metric
    )
    index.by_residual = False  # under L2 each list would take tables of its own
    return index


def _learn(index: Any, job: BuildJob, rows: Ids) -> tuple[Floats, Margins]:
    random = np.random.default_rng(0)
    drawn = random.choice(len(rows), min(LEARNT, len(rows)), replace=False)
    sample = job.vectors[rows[np.sort(drawn)]]
    book = codebook(sample)
    centre = None
    if job.metric is MetricType.L2:
        random.shuffle(sample)
        centre = centre_of(sample, weights_of(book)[0])
    faiss.copy_array_to_vector(book.ravel(), index.pq.centroids)
    index.is_trained = True
    return book, Margins(book, centre)


def codebook(sample: Floats) -> Floats:
    """The values that stand for those of each dimension, float32 (dimension, 16), by k-means.

    In one dimension a cluster is a stretch of the sorted values, and its mean a difference of two
    sums: that takes a hundredth of the time of faiss's.
    """
    count, levels = len(sample), 1 << CODE_BITS
    out = np.empty((sample.shape[1], levels), dtype=np.float32)
    starts = np.arange(levels + 1) * count // levels
    for values, book in zip(np.sort(sample.T, axis=1).astype(np.float64), out, strict=True):
        sums, ends = np.append(0, np.cumsum(values)), starts
        means = values[starts[:-1]]
        for _ in range(_ROUNDS):
            sizes = np.diff(ends)
            means = np.where(sizes, np.diff(sums[ends]) / np.maximum(sizes, 1), means)
            within = np.searchsorted(values, (means[1:] + means[:-1]) / 2)
            ends = np.concatenate([[0], within, [count]])
        book[:] = means
    return out


def _standing(rows: int, groups: Groups) -> Ids:
    """For each row the one that its group is found by, int64 (rows,)."""
    stands = np.arange(rows)
    stands[groups.members] = np.repeat(groups.heads, np.diff(groups.starts))
    return stands


def _nominated(index: Any, queries: Floats, width: int) -> Ids:
    """Of all lists, which are given: faiss would put them in order for each query."""
    shape, nlist = (len(queries), width), index.nlist
    queries = np.ascontiguousarray(queries)
    lists = np.tile(np.arange(nlist), (len(queries), 1))
    distances, rows = np.empty(shape, np.float32), np.empty(shape, np.int64)
    unused, how = np.zeros(lists.shape, np.float32), parameters("IVF", "nprobe", nlist, None)
    index.search_preassigned_c(
        len(queries), pointer(queries), width, pointer(lists), pointer(unused),
        pointer(distances), pointer(rows), False, how,
    )  # fmt: skip
    return rows


def _pays(candidates: Candidates) -> bool:
    return all(
        candidates.number(hits) <= most * hits
        for hits, most in _MOST_A_HIT
        if hits <= candidates.hits[-1]
    )


class _Search(NamedTuple):
    """What is asked of an index, and how that is found.

    Attributes:
        k, nprobe, mask: what is asked.
        shortest: hits that there must be.
        wanted: candidates of a query.
        how: faiss's parameters of a search for these.
        required: what they must show.
        listed, live: rows in the lists that are read, on the average, and those that may be found.
        portion: queries at a time.
        again: whether candidates showed too little before.
        near, far: the candidates that show something, by number.
    """

    k: int
    nprobe: int
    mask: RowMask | None
    shortest: int
    wanted: int
    how: Any
    required: Requirement
    listed: int
    live: float
    portion: int
    again: bool
    near: int
    far: int


class OpenCoded(OpenFastScan):
    """Such an index. `kernel` is that of the plain form."""

    def __init__(
        self, image: Image, flat: Bytes, metric: MetricType, kernel: IvfKernel, table: Ids
    ) -> None:
        self._measured = Candidates.of(table, vectors_of(flat).shape[1], metric)
        super().__init__(image, flat, metric, kernel)
        self._numbers: dict[int, tuple[int, Requirement]] = {}
        self._unmasked: dict[tuple[int, int], _Search] = {}  # by k and nprobe
        count, dimension = self._nodes.count, self._width
        # A query reads a large list more often than a small one.
        self._rows_a_list = self._index.invlists.imbalance_factor() * count / self._nlist
        # What a coded search costs, in rows of lists.
        row = _LISTED + _LISTED_DIMENSION * dimension
        self._candidate = (_CANDIDATE + _CANDIDATE_DIMENSION * dimension) / row
        self._listed_more = _LISTED_MORE / row
        book = faiss.vector_to_array(self._index.pq.centroids).reshape(dimension, -1)
        self._margins = Margins(book, self._measured.centre)

    def search(
        self, queries: Floats, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        if mask is None:
            nprobe = int(params["nprobe"])
            if nprobe >= self._nlist:  # that is promised to be exact
                return search_exact(queries, self._vectors, self._metric, k, None, threads)
            search = self._unmasked.get((k, nprobe))
            if search is not None and 0 not in np.isfinite(queries).tobytes():
                use_threads(threads)
                return self._nearest_of_enough(search, queries)
        return super().search(queries, k, params, mask, threads)

    def _search(self, queries: Floats, k: int, nprobe: int, refine: int, living: Living) -> Found:
        search = self._asked(k, nprobe, living)
        if living is self._nodes.whole and living.groups is None:
            if len(self._unmasked) >= KEPT_MAX:
                self._unmasked.clear()
            self._unmasked[k, nprobe] = search
        return self._nearest_of_enough(search, queries)

    def _asked(self, k: int, nprobe: int, living: Living) -> _Search:
        asked = self._numbers.get(k)
        if asked is None:
            required = self._measured.required(k, self._margins)
            asked = self._numbers[k] = self._measured.number(k), required
        wanted, required = asked
        near, far = places(k, wanted)
        nodes = self._nodes.count
        listed = min(nprobe * self._rows_a_list, nodes)
        return _Search(
            k=k,
            nprobe=nprobe,
            mask=living.mask,
            shortest=min(k, living.nodes),
            wanted=wanted,
            how=self._refined_by(wanted, wanted, nprobe, living.mask),
            required=required,
            listed=int(listed),
            live=listed * living.nodes / nodes,
            portion=at_a_time(wanted),
            again=False,
            near=near,
            far=far,
        )

    def _nearest_of_enough(self, search: _Search, queries: Floats) -> Found:
        """By the candidates; where they show too little, by four times as many; and where that
        fails, or costs no less, by all rows of the lists.
        """
        if search.live + self._listed_more <= self._candidate * search.wanted:
            return self._nearest_listed(search, queries)
        if len(queries) > search.portion:
            find = partial(self._nearest_of_enough, search)
            return in_portions(queries, search.k, search.portion, find)
        distances, rows = self._candidates_compared(search, queries)
        if len(queries) == 1 and self._settled(search, queries[0], distances, rows):
            return distances[:, : search.k], rows[:, : search.k]
        more, all_rows = search.required.doubtful(queries, distances, rows)
        if self._metric is MetricType.IP and search.shortest:  # faiss loses the farthest of all
            all_rows += np.flatnonzero(rows[:, search.shortest - 1] < 0).tolist()
        found = self._front(distances, rows, search.k)
        if more and search.again:
            all_rows += more
        elif more:
            again = self._nearest_of_enough(self._wider(search), queries[more])
            found[0][more], found[1][more] = again
        if all_rows:
            found[0][all_rows], found[1][all_rows] = self._nearest_listed(search, queries[all_rows])
        return found

    def _settled(self, search: _Search, query: Floats, distances: Floats, rows: Ids) -> bool:
        """Whether the hits of one query are believed and in their order, as most are: what follows
        for others takes as long as half of the search.
        """
        numbers, k = distances[0].tolist(), search.k
        if not search.required.met_by(query, numbers[search.near], numbers[search.far])[1]:
            return False
        # One more, to see that it is not as near as the last. Where it is no row, there are fewer.
        return rows.item(min(k, len(numbers) - 1)) >= 0 and rises(
            numbers[: k + 1], self._metric is MetricType.IP
        )

    def _wider(self, search: _Search) -> _Search:
        wanted = _WIDER * search.wanted
        near, far = places(search.k, wanted)
        return search._replace(
            wanted=wanted,
            how=self._refined_by(wanted, wanted, search.nprobe, search.mask),
            required=search.required.farther(_FARTHER),
            portion=at_a_time(wanted),
            again=True,
            near=near,
            far=far,
        )

    def _nearest_listed(self, search: _Search, queries: Floats) -> Found:
        """Or of all rows, where to compare them as they lie in memory takes no longer."""
        if search.listed * _SCATTERED >= self._rows and self._nodes.whole.groups is None:
            return search_exact(queries, self._vectors, self._metric, search.k, search.mask)
        listed = partial(self._listed, search.nprobe, search.mask)
        width = max(1, search.listed)
        return refined(queries, self._vectors, self._metric, search.k, width, listed)

    def _candidates_compared(self, search: _Search, queries: Floats) -> Found:
        """Nearest first, (nq, wanted)."""
        wanted = search.wanted
        if not self._pages_ahead:  # as `search_index`, and a call less on the way of most searches
            shape = (len(queries), wanted)
            distances, rows = np.empty(shape, np.float32), np.empty(shape, np.int64)
            self._refining.search_c(
                shape[0], pointer(queries), wanted, pointer(distances), pointer(rows), search.how
            )
            return distances, rows
        how = parameters("IVF", "nprobe", search.nprobe, search.mask)
        rows = self._candidates(wanted, search.nprobe, how, queries)
        return nearest_of(queries, self._vectors, rows, self._metric, wanted)

    def _front(self, distances: Floats, rows: Ids, k: int) -> Found:
        """The first of those in order, but equal ones are in any."""
        # One more, to see that it is not as near as the last.
        if settled(distances[:, : k + 1], rows[:, : k + 1], self._metric):
            return distances[:, :k], rows[:, :k]
        return ordered(distances, rows, self._metric, k)
