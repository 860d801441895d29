"""Exact search by codes: the codes of all rows are compared, and then the rows of the few
candidates that could be hits. `bounds` proves that no other row is one; where it cannot, every row
is compared, as without codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from milvine.index.base import Params
from milvine.index.codes.bounds import proven
from milvine.index.codes.image import KINDS_OF_K, Coded
from milvine.index.codes.quantizer import CodedQueries
from milvine.index.exact import search_exact
from milvine.index.native import faiss, kept, live_selector, search_index
from milvine.index.score import Found, for_finite, in_portions, nearest_of
from milvine.index.threads import use_threads
from milvine.storage.prefetch import PAGE_BYTES, ask_for_rows
from milvine.types import Bytes, Floats, Ids, MetricType, RowMask

FEW_LIVE = 0.02
"""Below this share of live rows they are compared themselves: codes would be skipped one by one."""
FEW_DEAD = 0.25
"""Below this share of dead rows they are candidates as well, and left out afterwards."""
MOST_CANDIDATES = 0.02
"""Above this share of the rows, rows in their order are read sooner than candidates here and there.
"""
MANY_QUERIES = 48
"""Of more in one call, rows that lie in memory are compared sooner by matrix products. On two cores
codes had 3.6, 1.5, 1.0 and 0.6 of their rate with 8, 32, 100 and 1,000 queries over 100,000 x 128,
and 3.2, 1.1, 0.7 and 0.5 over wordnet.
"""
WIDER = 6
_PORTION = 1 << 18
"""Candidates in one go."""
_SKIPPED_MAX = 1024


class OpenCodes:
    """The codes of a segment, opened. Searches may run at the same time.

    Where proofs fail one after the other, more and more queries are answered without trying, so
    that hostile rows cost little more than they do without codes.
    """

    def __init__(
        self, image: Bytes, vectors: Floats, metric: MetricType, coded: Coded, index: Any
    ) -> None:
        self._image = image  # the index points into it
        self._vectors, self._metric, self._coded, self._index = vectors, metric, coded, index
        rows = RowMask.all_live(len(vectors)) if len(coded.outside) else None
        self._inside = None if rows is None else rows.without(coded.outside)
        self._scanned = vectors
        self._pages_ahead = 0
        self._failures = self._skipped = 0

    def read_ahead(self, most: int) -> None:
        self._pages_ahead = most // PAGE_BYTES

    def scan_rows_in(self, vectors: Floats) -> None:
        self._scanned = vectors

    @property
    def rows(self) -> int:
        return len(self._vectors)

    def search(
        self, queries: Floats, k: int, params: Params, mask: RowMask | None, threads: int = 1
    ) -> Found:
        use_threads(threads)
        if mask is not None and not mask.dead:
            mask = None
        live = self.rows if mask is None else mask.live
        wanted = min(k, live)
        width = self._candidates(wanted, live)
        pays = wanted and width <= MOST_CANDIDATES * live and live >= FEW_LIVE * self.rows
        pays = pays and (len(queries) <= MANY_QUERIES or self._pages_ahead > 0)
        if not pays or self._skipped > 0:
            self._skipped -= len(queries) if pays else 0
            return self._compare_all(queries, k, mask, threads)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        return for_finite(queries, k, lambda some: self._search(some, k, width, mask, threads))

    def _candidates(self, wanted: int, live: int) -> int:
        """How many for so many hits, of the whole segment."""
        return round(needed_for(self._coded.needed, wanted) * self.rows / max(live, 1))

    def _search(
        self, queries: Floats, k: int, width: int, mask: RowMask | None, threads: int
    ) -> Found:
        portion = max(1, _PORTION // width)
        return in_portions(
            queries, k, portion, lambda some: self._portion(some, k, width, mask, threads)
        )

    def _portion(
        self, queries: Floats, k: int, width: int, mask: RowMask | None, threads: int
    ) -> Found:
        points = self._coded.quantizer.encode_queries(queries, self._metric)
        found, sure = self._nearest(queries, points, k, width, mask)
        if all(sure):
            self._failures = 0
            return found
        open_ones = np.flatnonzero(~np.array(sure))
        some = queries[open_ones]
        wider = min(width * WIDER, self.rows)
        better, again = self._nearest(some, points.of(open_ones), k, wider, mask)
        found[0][open_ones], found[1][open_ones] = better
        open_ones = open_ones[~np.array(again)]
        if len(open_ones):
            self._note_failures(len(open_ones))
            found[0][open_ones], found[1][open_ones] = self._compare_all(
                queries[open_ones], k, mask, threads
            )
        return found

    def _compare_all(self, queries: Floats, k: int, mask: RowMask | None, threads: int) -> Found:
        picked = None if self._scanned is self._vectors else self._vectors
        return search_exact(queries, self._scanned, self._metric, k, mask, threads, picked)

    def _note_failures(self, queries: int) -> None:
        self._failures = min(self._failures + 1, _SKIPPED_MAX.bit_length() - 1)
        self._skipped = queries << self._failures

    def _nearest(
        self, queries: Floats, points: CodedQueries, k: int, width: int, mask: RowMask | None
    ) -> tuple[Found, list[bool]]:
        """The k nearest of the candidates, and of which queries they are proven."""
        few_dead = mask is not None and mask.dead < FEW_DEAD * mask.rows
        scores, rows = search_index(
            self._index, points.points, width, None if few_dead else _selected(mask)
        )
        worst, ends = scores[:, -1].tolist(), rows[:, -1].tolist()
        rows = self._with_outside(rows)
        if mask is not None:
            rows = mask.only_live(rows)
        if self._pages_ahead:
            ask_for_rows(self._vectors, rows, self._pages_ahead)
        found = nearest_of(queries, self._vectors, rows, self._metric, k)
        wanted = min(k, self.rows if mask is None else mask.live) - 1
        hits = zip(found[0][:, wanted].tolist(), found[1][:, wanted].tolist(), strict=True)
        last = [inf if row < 0 else distance for distance, row in hits]
        sure = proven(queries, self._coded, points, self._metric, worst, last)
        # Where there are fewer rows than candidates, all were looked at.
        return found, [each or end < 0 for each, end in zip(sure, ends, strict=True)]

    def _with_outside(self, rows: Ids) -> Ids:
        """Candidates by their codes, and the rows whose codes say nothing."""
        if self._inside is None:
            return rows
        outside = np.broadcast_to(self._coded.outside, (len(rows), len(self._coded.outside)))
        return np.hstack([self._inside.only_live(rows), outside])


def needed_for(needed: Sequence[int], k: int) -> int:
    """Candidates for k hits, between the numbers that are known; beyond them in proportion."""
    if k <= KINDS_OF_K[-1]:
        return int(np.ceil(np.interp(k, KINDS_OF_K, needed)))
    return -(-k * needed[-1] // KINDS_OF_K[-1])


def _selected(mask: RowMask | None) -> Any:
    """faiss's parameters of a search among the live rows; they point into `mask`."""
    if mask is None:
        return None
    return kept("codes", mask, lambda: faiss.SearchParameters(sel=live_selector(mask)))
