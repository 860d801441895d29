"""The clients: one loop for each kind. A loop ends when the time is up or at the first thing that
is wrong.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milvine.client.milvus import Milvus
from milvine.testing.load.journal import (
    COLLECTION,
    COUNT,
    FIRST,
    TAG,
    Acknowledged,
    Journal,
    first_of,
    vectors_of,
)
from milvine.testing.load.plan import (
    BUILD_SECONDS,
    CALL_SECONDS,
    NLIST,
    SEARCH_PARAMS,
    TAGS,
    TOPK,
    Plan,
)
from milvine.types import IndexType

_TAG_EVERY = 3  # every third search is of one partition
_GET_ROWS = 20
_IDLE_SECONDS = 0.05
_BETWEEN_BUILDS = 2.0
_CLOSE = 1e-3  # squared distance of a row to itself: products in float32 do not give exactly 0


class Wrong(Exception):
    """An answer that must not be."""


class Client:
    """One client: its connection, its share of randomness, how long its calls took, what
    was wrong.
    """

    def __init__(
        self,
        role: str,
        plan: Plan,
        work: Path,
        port: int,
        acknowledged: Acknowledged,
        beats: NDArray[Any],
    ) -> None:
        self.role, self._plan, self._work, self._acknowledged = role, plan, work, acknowledged
        self._beats, self._number = beats, plan.roles.index(role)
        self._random = np.random.default_rng((plan.seed, self._number))
        self._milvus = Milvus(host="127.0.0.1", port=port)
        self.seconds: dict[str, list[float]] = {}
        self.rows = 0
        self.problem = ""

    def run(self, until: float) -> None:
        kind = self.role.rstrip("0123456789")
        turn: Callable[[int], None] = getattr(self, f"_{kind}")(int(self.role[len(kind) :]))
        number = 0
        try:
            while time.time() < until or self._has_yet_to(kind, until):
                turn(number)
                number += 1
                self._beats[self._number] = time.time()
                if self._plan.pause:
                    time.sleep(self._plan.pause)
        except Wrong as error:
            self.problem = f"{self.role}: {error}"
        except Exception:
            self.problem = f"{self.role}: {traceback.format_exc()}"
        finally:
            self._beats[self._number] = np.inf  # it is not waited for any more
            self._milvus.close()

    def _has_yet_to(self, kind: str, until: float) -> bool:
        """Whether it goes on when the time is up: on a busy machine until it has done each of its
        operations once.
        """
        operations = {
            "reader": ("search, nq 1", f"search, nq {self._plan.nq}", "get"),
            "deleter": ("delete",),
        }.get(kind, ())
        return time.time() < until + CALL_SECONDS and not self.seconds.keys() >= set(operations)

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds.setdefault(operation, []).append(time.perf_counter() - began)

    def _writer(self, number: int) -> Callable[[int], None]:
        journal, names = Journal(self._work / f"{self.role}.journal"), self._plan.collections
        collection = number % len(names)

        def turn(n: int) -> None:
            seed, count, tag = (
                number * 10**9 + n,
                self._plan.batch,
                int(self._random.integers(len(TAGS))),
            )
            first = number * 10**12 + n * count
            given = range(first, first + count) if self._plan.gives_ids(collection) else None
            rows = vectors_of(np.array([collection, tag, first, count, seed]), self._plan)
            with self._timed("insert"):
                status, ids = self._milvus.insert(
                    names[collection],
                    rows,
                    None if given is None else list(given),
                    TAGS[tag],
                    timeout=CALL_SECONDS,
                )
            check(status)
            first = ids[0] if given is None and len(ids) else first
            if list(ids) != list(range(first, first + count)):
                raise Wrong(f"an insert of {count} rows was answered with ids {list(ids)[:3]}...")
            journal.add(collection, tag, first, count, seed)
            self.rows += count

        return turn

    def _reader(self, number: int) -> Callable[[int], None]:
        kinds = (self._search_one, self._search_many, self._get)

        def turn(n: int) -> None:
            kinds[(n + number) % len(kinds)](n)

        return turn

    def _search_one(self, n: int) -> None:
        self._search("search, nq 1", 1, n % _TAG_EVERY == 0)

    def _search_many(self, n: int) -> None:
        self._search(f"search, nq {self._plan.nq}", self._plan.nq, False)

    def _search(self, operation: str, nq: int, by_tag: bool) -> None:
        """Each query is the first row of an acknowledged batch, which nobody deletes: it must be
        its own nearest.
        """
        batches = self._acknowledged.some(self._random, nq)
        if not len(batches):
            time.sleep(_IDLE_SECONDS)
            return
        queries = np.concatenate([first_of(batch, self._plan) for batch in batches])
        tags = [TAGS[int(batches[0, TAG])]] if by_tag else None
        name = self._plan.collections[int(batches[0, COLLECTION])]
        with self._timed(operation):
            status, hits = self._milvus.search(
                name, TOPK, queries, tags, SEARCH_PARAMS, timeout=CALL_SECONDS
            )
        check(status)
        if len(hits) != len(batches):
            raise Wrong(f"{len(batches)} queries had {len(hits)} answers")
        for batch, row in zip(batches, hits, strict=True):
            distances = [hit.distance for hit in row]
            if (
                not distances
                or row[0].id != batch[FIRST]
                or distances[0] > _CLOSE
                or distances != sorted(distances)
            ):
                raise Wrong(f"a search for row {batch[FIRST]} of {name} found {list(row)[:3]}")
        self.rows += len(batches)

    def _get(self, n: int) -> None:
        batches = self._acknowledged.some(self._random, _GET_ROWS)
        if not len(batches):
            time.sleep(_IDLE_SECONDS)
            return
        name = self._plan.collections[int(batches[0, COLLECTION])]
        with self._timed("get"):
            status, rows = self._milvus.get_entity_by_id(
                name, batches[:, FIRST].tolist(), timeout=CALL_SECONDS
            )
        check(status)
        for batch, row in zip(batches, rows, strict=True):
            if not np.array_equal(np.array(row, np.float32), first_of(batch, self._plan)[0]):
                raise Wrong(f"row {batch[FIRST]} of {name} came back as {row[:3]}...")
        self.rows += len(batches)

    def _deleter(self, number: int) -> Callable[[int], None]:
        journal = Journal(self._work / f"{self.role}.journal")

        def turn(n: int) -> None:
            batches = self._acknowledged.some(self._random, 1)
            if not len(batches):
                time.sleep(_IDLE_SECONDS)
                return
            batch = batches[0]
            start = int(self._random.integers(1, max(2, batch[COUNT])))
            stop = int(
                min(batch[COUNT], start + 1 + self._random.integers(self._plan.batch // 4 + 1))
            )
            ids = list(range(int(batch[FIRST]) + start, int(batch[FIRST]) + stop))
            with self._timed("delete"):
                name = self._plan.collections[int(batch[COLLECTION])]
                status = self._milvus.delete_entity_by_id(name, ids, timeout=CALL_SECONDS)
            check(status)
            journal.add(int(batch[COLLECTION]), start, int(batch[FIRST]), stop, 0)
            self.rows += len(ids)

        return turn

    def _indexer(self, number: int) -> Callable[[int], None]:
        """Index, compact, flush; every third time back to no index."""

        def turn(n: int) -> None:
            names = self._plan.collections
            name = names[(n + number) % len(names)]
            with self._timed("create_index"):
                check(
                    self._milvus.create_index(
                        name, IndexType.IVF_FLAT, {"nlist": NLIST}, timeout=BUILD_SECONDS
                    )
                )
            with self._timed("compact"):
                check(self._milvus.compact(name, timeout=BUILD_SECONDS))
            with self._timed("flush"):
                check(self._milvus.flush([name], timeout=BUILD_SECONDS))
            if n % 3 == 2:
                check(self._milvus.drop_index(name))
            time.sleep(min(_BETWEEN_BUILDS, self._plan.seconds / 20))

        return turn


def check(status: Any) -> None:
    """Raises Wrong unless the server said OK."""
    if not status.OK():
        raise Wrong(f"code {int(status.code)}: {status.message}")
