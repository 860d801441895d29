"""Vectors by id."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from milvine.errors import NothingStored
from milvine.search.plan import SegmentTask, Task, plan, select_partitions
from milvine.segment.version import Version
from milvine.types import Ids, Vectors


def fetch(version: Version, ids: Ids, tags: Sequence[str]) -> tuple[NDArray[np.bool_], Vectors]:
    """Which ids are stored, bool (n,), and their vectors (n, width), zeros where missing.

    Of several rows with one id the first in storage order is taken (specification 3.16).

    Raises:
        PartitionNotFound: no partition matches the tags.
        NothingStored: the scope has neither segments nor unflushed rows.
    """
    tasks = plan(version, select_partitions(version, tags))
    if not tasks:
        raise NothingStored
    found = np.zeros(len(ids), bool)
    out = np.zeros((len(ids), version.collection.width), version.collection.dtype)
    for task in tasks:
        if found.all():
            break
        _fetch_from(task, ids, found, out)
    return found, out


def _fetch_from(task: Task, ids: Ids, found: NDArray[np.bool_], out: Vectors) -> None:
    wanted = np.unique(ids[~found])
    if isinstance(task, SegmentTask):
        rows = np.sort(task.segment.find(wanted))
        stored = task.segment.ids()
    else:
        stored = task.block.ids
        rows = np.flatnonzero(np.isin(stored, wanted))
    if task.mask is not None:
        rows = rows[task.mask.contains(rows)]
    if not len(rows):
        return
    unique, first = np.unique(stored[rows], return_index=True)
    places = np.minimum(np.searchsorted(unique, ids), len(unique) - 1)
    here = ~found & (unique[places] == ids)
    vectors = task.segment.vectors() if isinstance(task, SegmentTask) else task.block.vectors
    out[here] = vectors[rows[first[places[here]]]]
    found |= here
