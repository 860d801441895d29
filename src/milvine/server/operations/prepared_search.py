"""Searches that were checked before: those that differ in nothing but the numbers of their one
vector.

What passed is kept with the collection as it was then. There is a new `Collection` after every
change of one, so while it is the same object, the same checks pass again.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypeAlias

import numpy as np

from milvine.engine.database import Database
from milvine.types import Collection, Query
from milvine.wire.packed import SearchRequest

_Key: TypeAlias = "tuple[str, tuple[str, ...], int, Hashable]"
_KEPT_MAX = 256  # kinds of searches; a program has few
_FEW = 16  # tags of one search, and parameters
_KEY_CHARACTERS_MAX = 1024

_kept: dict[_Key, tuple[Collection, Mapping[str, Any], tuple[str, ...], np.dtype[Any], int]] = {}
"""Collection, parameters, tags, dtype and width. Every entry is right by itself, so nothing is
locked.
"""


def known_query(database: Database, wanted: SearchRequest, params: object) -> Query | None:
    """The query that was made of such a request, with the vector of this one; None where that
    cannot be told.

    Raises:
        CollectionNotFound.
    """
    vectors = wanted.rows.vectors
    if vectors is None or len(vectors) != 1:
        return None
    try:
        kept = _kept.get(_key(wanted, params))
    except TypeError:  # a list among the parameters
        return None
    if kept is None:
        return None
    collection, own, tags, dtype, width = kept
    if (
        collection is not database.collection(wanted.collection)
        or vectors.dtype != dtype
        or vectors.shape[1] != width
    ):
        return None
    return Query(vectors, wanted.topk, own, tags, collection)


def remember(collection: Collection, wanted: SearchRequest, params: object, query: Query) -> None:
    """A request passed all checks, and `query` was made of it."""
    if len(query.vectors) != 1 or max(len(query.tags), len(query.params)) > _FEW:
        return
    key, values = _key(wanted, params), query.params.values()
    if (
        any(isinstance(value, (list, dict)) for value in values)
        or len(repr(key)) > _KEY_CHARACTERS_MAX
    ):
        return
    if len(_kept) >= _KEPT_MAX:
        _kept.clear()
    own = dict(query.params)  # a caller in this process may change his
    _kept[key] = collection, own, query.tags, query.vectors.dtype, query.vectors.shape[1]


def _key(wanted: SearchRequest, params: object) -> _Key:
    told: Hashable = wanted.params
    if told is None and isinstance(params, dict):  # True equals 1, and is refused where 1 is not
        told = tuple([(key, value, type(value)) for key, value in params.items()])
    return wanted.collection, wanted.tags, wanted.topk, told
