"""Small searches that arrived at the same moment: those that ask alike share one pass over the
data.

Nobody waits for company. A door that finds several calls waiting hands them over together; alone, a
search is answered as ever. One pass costs the interpreter once instead of once for each, and an
exact scan reads the rows once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from milvine.server.operations.refusals import Refused
from milvine.server.operations.table import Operations
from milvine.types import Hits
from milvine.wire import packed

Key: TypeAlias = "tuple[str, tuple[str, ...], int, str | None, str, int]"
Reply: TypeAlias = "bytes | Refused"
_RPC = "Search"


def search_together(operations: Operations, requests: Sequence[bytes]) -> list[Reply]:
    """For each Search request its reply, or what a door makes a gRPC status of."""
    alike: dict[Key | int, list[int]] = {}
    wanted: dict[int, packed.SearchRequest] = {}
    for number, request in enumerate(requests):
        decoded = _single(request)
        if decoded is not None:
            wanted[number] = decoded
        alike.setdefault(number if decoded is None else _key(decoded), []).append(number)
    replies: dict[int, Reply] = {}
    for numbers in alike.values():
        hits = _joined(operations, [wanted[n] for n in numbers]) if len(numbers) > 1 else None
        for row, number in enumerate(numbers):
            if hits is None:  # alone, or refused: then each is told so in its own reply
                replies[number] = _alone(operations, requests[number])
            else:
                replies[number] = packed.encode_hits(
                    hits.ids[row : row + 1], hits.distances[row : row + 1]
                )
    return [replies[number] for number in range(len(requests))]


def _single(request: bytes) -> packed.SearchRequest | None:
    """A request of one query; None for others, and for those that are none."""
    try:
        decoded = packed.decode_search(request)
    except packed.Malformed:
        return None
    return decoded if decoded.rows.count == 1 and decoded.rows.vectors is not None else None


def _key(wanted: packed.SearchRequest) -> Key:
    vectors = wanted.rows.vectors
    assert vectors is not None
    return (
        wanted.collection,
        wanted.tags,
        wanted.topk,
        wanted.params,
        vectors.dtype.str,
        vectors.shape[1],
    )


def _joined(operations: Operations, wanted: list[packed.SearchRequest]) -> Hits | None:
    vectors = np.concatenate(
        [each.rows.vectors for each in wanted if each.rows.vectors is not None]
    )
    first, rows = wanted[0], packed.Rows(len(vectors), vectors.size, vectors)
    joined = packed.SearchRequest(first.collection, first.tags, rows, first.topk, first.params)
    return operations.nearest_of_many(joined, len(wanted))


def _alone(operations: Operations, request: bytes) -> Reply:
    try:
        return operations.call(_RPC, request)
    except Refused as refused:
        return refused
