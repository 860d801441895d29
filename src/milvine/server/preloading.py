"""`cache.preload_collection`: collections that are in memory before the first request is taken."""

from __future__ import annotations

from collections.abc import Sequence

from milvine.engine.database import Database
from milvine.errors import MilvineError, OperatorError


class PreloadFailed(OperatorError):
    """The server does not start: a collection that it was to load does not exist, is damaged or
    does not fit.
    """


def preload_collections(database: Database, names: Sequence[str]) -> None:
    """Load collections, all of them for `*`; returns when that is done.

    Raises:
        PreloadFailed: names the collection.
    """
    for name in database.collections() if "*" in names else names:
        try:
            database.collection(name).preload(whole=True)
        except MilvineError as error:
            raise PreloadFailed(
                f"Cannot load collection {name} (cache.preload_collection): {error}"
            ) from error
