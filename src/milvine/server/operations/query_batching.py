"""Small searches that arrived at the same moment: those that ask alike share one pass over the
data.

Nobody waits for company. A door that finds several searches waiting hands them over together;
alone, a search is answered as ever. One pass costs the interpreter once instead of once for each,
and an exact scan reads the rows once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeAlias

from milvine.search import batching
from milvine.server.operations.refusals import Refused
from milvine.server.operations.table import Operations
from milvine.types import Hits
from milvine.wire import packed

Reply: TypeAlias = "bytes | Refused"
_RPC = "Search"


def answer_searches(operations: Operations, requests: Sequence[bytes]) -> list[Reply]:
    """For each Search request its reply, or what a door makes a gRPC status of."""
    wanted = [_single(request) for request in requests]
    replies: dict[int, Reply] = {}
    for numbers in batching.groups([_key(*each) for each in enumerate(wanted)]):
        alike = [each for number in numbers if (each := wanted[number]) is not None]
        hits = _nearest(operations, alike) if len(alike) > 1 else None
        for row, number in enumerate(numbers):
            if hits is None:  # alone, or refused: then each is told so in its own reply
                replies[number] = _alone(operations, requests[number])
            else:
                own = batching.hits_of(hits, row)
                replies[number] = packed.encode_hits(own.ids, own.distances)
    return [replies[number] for number in range(len(requests))]


def _single(request: bytes) -> packed.SearchRequest | None:
    """A request of one query; None for others, and for those that are none."""
    try:
        decoded = packed.decode_search(request)
    except packed.Malformed:
        return None
    return decoded if decoded.rows.count == 1 and decoded.rows.vectors is not None else None


def _key(number: int, wanted: packed.SearchRequest | None) -> Hashable:
    """Of the request with that number; one that has to be answered alone has a key of its own."""
    if wanted is None or wanted.rows.vectors is None:
        return number
    ask = batching.ask_key(wanted.rows.vectors, wanted.topk, wanted.tags, wanted.params)
    return wanted.collection, ask


def _nearest(operations: Operations, alike: Sequence[packed.SearchRequest]) -> Hits | None:
    vectors = batching.joined(
        [each.rows.vectors for each in alike if each.rows.vectors is not None]
    )
    first, rows = alike[0], packed.Rows(len(vectors), vectors.size, vectors)
    wanted = packed.SearchRequest(first.collection, first.tags, rows, first.topk, first.params)
    return operations.nearest_of_many(wanted, len(alike))


def _alone(operations: Operations, request: bytes) -> Reply:
    try:
        return operations.call(_RPC, request)
    except Refused as refused:
        return refused
