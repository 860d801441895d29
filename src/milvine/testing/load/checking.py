"""The end of a run: every acknowledged row there once with its vector, every deleted one gone, and
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from milvine.client.milvus import Milvus
from milvine.config import Settings
from milvine.errors import MilvineError
from milvine.limits import GET_IDS_MAX
from milvine.testing.by_name import DatabaseByName
from milvine.testing.load.clients import check
from milvine.testing.load.journal import COUNT, FIRST, Entries, live_ids, read, vectors_of
from milvine.testing.load.plan import Plan
from milvine.types import Ids

_PROBLEMS_MAX = 20


def check_everything(port: int, plan: Plan, work: Path) -> tuple[int, int, list[str]]:
    """(live rows compared, deleted rows found gone, what is wrong)."""
    inserts, deletes = read(work, "writer"), read(work, "deleter")
    live, gone, problems = 0, 0, list[str]()
    with Milvus(host="127.0.0.1", port=port) as milvus:
        for number, name in enumerate(plan.collections):
            batches = live_ids(inserts, deletes, number)
            expected = sum(len(ids) for _, ids in batches)
            status, counted = milvus.count_entities(name)
            check(status)
            if counted != expected:
                problems.append(
                    f"{name} counts {counted} rows, {expected} were acknowledged and not deleted"
                )
            for batch, ids in batches:
                if counted:
                    problems += _compare(milvus, name, batch, ids, plan)
                elif len(ids):  # the server refuses to look for rows where there are none
                    problems.append(_lost(name, len(ids), batch))
                if len(problems) > _PROBLEMS_MAX:
                    return live, gone, problems
            live += expected
            gone += sum(int(batch[COUNT]) for batch, _ in batches) - expected
        milvus.close()
    return live, gone, problems


def check_reopened(data: Path, settings: Settings, plan: Plan, work: Path) -> list[str]:
    """What is wrong with the folder of a server that ended: it must open at once, count right."""
    inserts, deletes = read(work, "writer"), read(work, "deleter")
    problems = []
    try:
        with DatabaseByName.open(data, settings) as db:
            for number, name in enumerate(plan.collections):
                expected = sum(len(ids) for _, ids in live_ids(inserts, deletes, number))
                if db.count(name) != expected:
                    problems.append(
                        f"opened again, {name} counts {db.count(name)} rows, not {expected}"
                    )
    except MilvineError as error:
        problems.append(f"the folder does not open again: {error}")
    return problems


def _compare(milvus: Milvus, name: str, batch: Entries, alive: Ids, plan: Plan) -> Iterator[str]:
    ids, expected = np.arange(batch[COUNT]) + batch[FIRST], vectors_of(batch, plan)
    for start in range(0, len(ids), GET_IDS_MAX):
        part = ids[start : start + GET_IDS_MAX]
        status, rows = milvus.get_entity_by_id(name, part.tolist())
        check(status)
        there = np.array([len(row) > 0 for row in rows], bool)
        should = np.isin(part, alive)
        if (there & ~should).any():
            yield (
                f"{name}: {int((there & ~should).sum())} deleted rows of batch {batch[FIRST]} are"
                " there"
            )
        if (should & ~there).any():
            yield _lost(name, int((should & ~there).sum()), batch)
        kept = np.flatnonzero(there & should)
        found = np.array([rows[at] for at in kept], np.float32).reshape(
            len(kept), expected.shape[1]
        )
        if not np.array_equal(found, expected[start : start + GET_IDS_MAX][kept], equal_nan=True):
            yield f"{name}: rows of batch {batch[FIRST]} came back with other vectors"


def _lost(name: str, count: int, batch: Entries) -> str:
    return f"{name}: {count} acknowledged rows of batch {batch[FIRST]} are lost"
