"""Vectors by id."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from milvine.errors import NothingStored
from milvine.search.plan import SegmentTask, Task, select_partitions, tasks_of
from milvine.segment.version import SegmentRun, Version
from milvine.types import Ids, Vectors


def fetch(version: Version, ids: Ids, tags: Sequence[str]) -> tuple[NDArray[np.bool_], Vectors]:
    """Which ids are stored, bool (n,), and their vectors (n, width), zeros where missing.

    Of several rows with one id the first in storage order is taken (specification 3.16).

    Raises:
        PartitionNotFound: no partition matches the tags.
        NothingStored: the scope has neither segments nor unflushed rows.
    """
    tasks = tasks_of(version, select_partitions(version, tags))
    if not tasks:
        raise NothingStored
    found = np.zeros(len(ids), bool)
    out = np.zeros((len(ids), version.collection.width), version.collection.dtype)
    for task in tasks:
        if found.all():
            break
        _fetch_from(task, ids, found, out)
    return found, out


def find_in_run(run: SegmentRun, ids: Ids) -> NDArray[np.int64]:
    """Rows of a run that carry any of `ids` (ascending, without repeats)."""
    if len(run.segments) == 1:
        return run.segments[0].segment.find(ids)
    return np.flatnonzero(np.isin(run.scan_input(exact=True).ids, ids))


def _fetch_from(task: Task, ids: Ids, found: NDArray[np.bool_], out: Vectors) -> None:
    wanted = np.unique(ids[~found])
    if isinstance(task, SegmentTask):
        rows = np.sort(find_in_run(task.run, wanted))
        read = task.run.scan_input(exact=True)
        assert read.vectors is not None
        stored, vectors = read.ids, read.vectors if read.picked is None else read.picked
    else:
        stored, vectors = task.block.ids, task.block.vectors
        rows = np.flatnonzero(np.isin(stored, wanted))
    if task.mask is not None:
        rows = rows[task.mask.contains(rows)]
    if not len(rows):
        return
    unique, first = np.unique(stored[rows], return_index=True)
    places = np.minimum(np.searchsorted(unique, ids), len(unique) - 1)
    here = ~found & (unique[places] == ids)
    out[here] = vectors[rows[first[places[here]]]]
    found |= here
