"""Rows that are equal or nearly so, put together: a graph or coded lists are built over one row of
each group.

All links of a row among hundreds of its copies lead to other copies: searches that come there stay
there, and the rows around them are never seen. Rows a few roundings apart do the same, so rows are
compared by nearness, not by bytes.

Rows are sorted into cells by where they lie on four random lines. Whatever is near lies in one
cell, but for what a border happens to divide, which costs a node and no more. In a cell, what is
near to its first row is a group; so no chain of small steps can make a group wide. A group may well
be too large: its rows are compared one by one when a search meets it (`members`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from milvine.types import Floats, Ids

Doubles = NDArray[np.float64]

CELL = 5e-5
"""Width of a cell as a part of the usual distance of two rows: float32 keeps differences of a
thousandth of it.
"""
RADIUS = 4 * CELL
"""Of a group around its first row, as a part of the same."""
_LINES = 4
_PAIRS = 4096
_USUAL = 0.995
"""The quantile of distances that counts as usual: nearly all pairs may be copies, and a few rows
may be anywhere.
"""
_ROUNDS = 4
_LOOKED_AT = 256
_FAR = 20 / CELL
_PORTION_BYTES = 16 << 20


class Groups(NamedTuple):
    """Groups of two rows or more.

    Attributes:
        heads: the first row of each, ascending, int64 (groups,).
        starts: where the rows of each begin in `members`, and their total, int64 (groups + 1,).
        members: rows of each group, ascending, the head first, int64.
        radii: how far from its head the farthest row of each is, float64 (groups,); 0 where all are
            the same vector.
    """

    heads: Ids
    starts: Ids
    members: Ids
    radii: Doubles

    def largest(self, rows_min: float, most: int) -> Ids:
        """The heads of up to `most` groups of so many rows or more, ascending."""
        sizes = np.diff(self.starts)
        order = np.argsort(-sizes, kind="stable")[:most]
        return np.sort(self.heads[order[sizes[order] >= rows_min]])

    def without_followers(self, rows: Ids) -> Ids:
        """Of ascending `rows`, the ones that stand for themselves or for a group."""
        if not len(self.heads):
            return rows
        follows = np.ones(len(self.members), dtype=bool)
        follows[self.starts[:-1]] = False
        alone = np.ones(len(rows), dtype=bool)
        alone[np.searchsorted(rows, self.members[follows])] = False
        return rows[alone]


def alike(vectors: Floats, rows: Ids) -> Groups:
    """The groups among some rows.

    Args:
        vectors: float32 (rows of the segment, dimension), may be mapped.
        rows: ascending row numbers, of rows without NaN and infinity.
    """
    if len(rows) < 2:
        return _joined([])
    usual = _usual_distance(vectors, rows)
    cells = _cells(vectors, rows, CELL * usual or 1.0)
    crowded = _crowded(cells)
    order = crowded[np.argsort(cells[crowded], kind="stable")]
    return _joined(_pairs(vectors, rows[order], cells[order], (RADIUS * usual) ** 2))


def _usual_distance(vectors: Floats, rows: Ids) -> float:
    """Of two rows drawn at random that are not equal; 0 where all that were drawn are."""
    drawn = np.random.default_rng(0).choice(len(rows), (2, _PAIRS))
    squares = _squares(vectors, rows[drawn[0]], rows[drawn[1]])
    apart = squares[squares > 0]
    return float(np.sqrt(np.quantile(apart, _USUAL))) if len(apart) else 0.0


def _squares(vectors: Floats, some: Ids, others: Ids) -> Doubles:
    """Squared distances of pairs of rows: 0 for equal vectors only."""
    out = np.empty(len(some))
    step = _portion(vectors)
    for start in range(0, len(some), step):
        part = slice(start, start + step)
        apart = np.subtract(vectors[some[part]], vectors[others[part]], dtype=np.float64)
        np.einsum("ij,ij->i", apart, apart, out=out[part])
    return out


def _portion(vectors: Floats) -> int:
    return max(1, _PORTION_BYTES // (8 * int(vectors.shape[1])))


def _cells(vectors: Floats, rows: Ids, width: float) -> NDArray[np.uint64]:
    """A number for the cell of each row, (rows,); those of different cells differ, but for
    chance.
    """
    drawn = np.random.default_rng(0)
    lines = drawn.standard_normal((vectors.shape[1], _LINES)).astype(
        _precision(vectors, rows, width)
    )
    shifts = drawn.random(_LINES)
    factors = drawn.integers(1 << 62, 1 << 63, _LINES, dtype=np.uint64) | np.uint64(1)
    out = np.empty(len(rows), dtype=np.uint64)
    step = _portion(vectors)
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        whole = some[-1] - some[0] + 1 == len(some)
        points = vectors[some[0] : some[-1] + 1] if whole else vectors[some]
        along = points.astype(lines.dtype, copy=False) @ lines
        places = np.floor(along / np.float64(width) + shifts) + 0.0  # there are two zeros
        mixed = places.view(np.uint64) * factors
        out[start : start + step] = (mixed ^ (mixed >> np.uint64(29))) @ factors
    return out


def _precision(vectors: Floats, rows: Ids, width: float) -> type[np.floating[Any]]:
    """float32, an eighth of the time, unless the rows are so far from the origin that its roundings
    are no small part of a cell."""
    some = vectors[rows[:: max(1, len(rows) // _LOOKED_AT)]].astype(np.float64)
    return np.float32 if np.sqrt((some**2).sum(axis=1).max()) < _FAR * width else np.float64


def _crowded(cells: NDArray[np.uint64]) -> Ids:
    """The places of those that are there more than once, ascending."""
    ordered = np.sort(cells)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(again):
        return np.empty(0, dtype=np.int64)
    again = np.unique(again)
    place = np.minimum(np.searchsorted(again, cells), len(again) - 1)
    return np.flatnonzero(again[place] == cells)


def _pairs(
    vectors: Floats, rows: Ids, cells: NDArray[np.uint64], square: float
) -> list[tuple[Ids, Ids, Doubles]]:
    """Heads, the rows that are near to them (themselves included) and the squared distances, in
    some parts.
    """
    found = []
    for _ in range(_ROUNDS):
        if not len(rows):
            break
        fresh = np.r_[True, cells[1:] != cells[:-1]]
        heads = rows[np.flatnonzero(fresh)][np.cumsum(fresh) - 1]
        squares = _squares(vectors, heads, rows)
        near = squares <= square
        found.append((heads[near], rows[near], squares[near]))
        rows, cells = rows[~near], cells[~near]
    return found


def _joined(pairs: list[tuple[Ids, Ids, Doubles]]) -> Groups:
    if not pairs:
        nobody = np.empty(0, dtype=np.int64)
        return Groups(nobody, np.zeros(1, dtype=np.int64), nobody, np.empty(0))
    heads, members, squares = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    order = np.lexsort((members, heads))
    heads, members, squares = heads[order], members[order], squares[order]
    _, place, counts = np.unique(heads, return_inverse=True, return_counts=True)
    several = counts[place] > 1
    heads, members, squares = heads[several], members[several], squares[several]
    first, begins = np.unique(heads, return_index=True)
    if not len(first):
        return _joined([])
    radii = np.sqrt(np.maximum.reduceat(squares, begins))
    return Groups(first, np.append(begins, len(members)), members, radii)
