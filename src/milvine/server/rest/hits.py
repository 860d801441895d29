"""Answers of searches as JSON text: ids and distances are strings there (specification 4.11)."""

from __future__ import annotations

from collections.abc import Iterator

from milvine.types import Hits

_HIT = '{"id":"%d","distance":"%f"}'
_NONE = b'{"num":0,"result":[]}'


def hits_json(hits: Hits) -> bytes:
    """One formatting operation per query, not per number."""
    if not hits.nq:
        return _NONE
    return f'{{"num":{hits.nq},"result":[{",".join(_rows(hits))}]}}'.encode()


def _rows(hits: Hits) -> Iterator[str]:
    width = hits.ids.shape[1]
    template = f"[{','.join([_HIT] * width)}]"
    numbers: list[float] = [0] * (2 * width)
    for ids, distances in zip(hits.ids, hits.distances, strict=True):
        numbers[0::2], numbers[1::2] = ids.tolist(), distances.tolist()
        yield template % tuple(numbers)
