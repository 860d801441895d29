"""The process of one contender: takes commands as lines of JSON on its standard input and answers
each with one line.

It is started by its path and imports nothing of Milvine, so that it also runs in the environment of
another database, next to an adapter that is given by its path as well:

    python worker.py ADAPTER.py

An adapter has `connect(address, setup)`, which gives a `Contender`. What it may leave out, and how
that is then done without: `prepare(query)` and `prepare_rows(ids, vectors)` (as they are),
`enter_thread()` (nothing), `server_pid()` (there is no server), `search_many`, `delete` and `get`
(answered as not offered).
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

Command = dict[str, Any]
Answer = dict[str, Any]


class Contender(Protocol):
    """A database, or a library, that holds one set of vectors. `address` is where further clients
    find it.
    """

    address: str

    def insert(self, ids: Any, vectors: Any) -> None:
        """One batch: int64 (rows,) and float32 (rows, dimension). Durable on return, where the
        library can.
        """

    def loaded(self) -> None:
        """After the last batch: wait until every row is searched."""

    def build(self, kind: str, params: dict[str, int]) -> None:
        """Replace the index: "HNSW", "IVF_FLAT" or "exact", which needs none. Returns when it is
        used.
        """

    def tune(self, kind: str, params: dict[str, int]) -> None:
        """Parameters of the searches that follow."""

    def search(self, query: Any, k: int) -> Any:
        """Ids of the nearest rows of one prepared query, nearest first."""

    def close(self) -> None: ...


class Session:
    """One contender and the commands it takes."""

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter
        self.contender: Any = None

    def answer(self, command: Command) -> Answer:
        """Runs the method that `do` names with the other values.

        Raises:
            whatever the contender's library raises.
        """
        arguments = dict(command)
        handler: Callable[..., Answer] = getattr(self, f"do_{arguments.pop('do')}")
        return handler(**arguments)

    def do_wake(self) -> Answer:
        """Nothing: whoever is answered knows that everything is imported."""
        return {}

    def do_open(self, address: str, setup: dict[str, Any]) -> Answer:
        self.contender = self.adapter.connect(address, setup)
        server = getattr(self.contender, "server_pid", None)
        return {
            "address": self.contender.address,
            "server_pid": server() if server else None,
            "version": getattr(self.contender, "version", ""),
            "many": hasattr(self.contender, "search_many"),
        }

    def do_load(self, vectors: str, batch: int, rows: int) -> Answer:
        """Insert the first `rows` rows of a .npy file under their row numbers. Reading it is
        outside the clock.
        """
        base = np.load(vectors)[:rows]
        ids = np.arange(len(base), dtype=np.int64)
        batches = [
            (ids[at : at + batch], base[at : at + batch]) for at in range(0, len(base), batch)
        ]
        if prepare := getattr(self.contender, "prepare_rows", None):
            batches = [prepare(*each) for each in batches]
        began, used = time.perf_counter(), cpu_seconds()
        for each in batches:
            self.contender.insert(*each)
        self.contender.loaded()
        return {
            "seconds": time.perf_counter() - began,
            "cpu": cpu_seconds() - used,
            "rows": len(base),
        }

    def do_build(self, kind: str, params: dict[str, int]) -> Answer:
        return _timed(lambda: self.contender.build(kind, params))

    def do_tune(self, kind: str, params: dict[str, int]) -> Answer:
        self.contender.tune(kind, params)
        return {}

    def do_answers(self, queries: str, k: int, out: str) -> Answer:
        """Write the ids found for each query, one call each, to `out`: int64 (queries, k), -1 where
        fewer.
        """
        rows = self._prepared(queries)
        self._enter_thread()
        np.save(out, filled([self.contender.search(row, k) for row in rows], k))
        return {}

    def do_search(
        self, queries: str, k: int, clients: int, seconds: float, at: float, out: str
    ) -> Answer:
        """Search one query after another from `clients` threads for `seconds`, beginning at the
        Unix time `at`.

        The seconds of every call go to `out`, float32 (calls,).
        """
        rows = self._prepared(queries)
        latencies: list[list[float]] = [[] for _ in range(clients)]
        failed: list[BaseException] = []
        rates = [0.0] * clients
        used = 0.0

        def run(number: int) -> None:
            try:
                self._enter_thread()
                rates[number] = self._loop(
                    rows, number * len(rows) // clients, k, seconds, at, latencies[number]
                )
            except BaseException as error:  # goes to the parent as the answer
                failed.append(error)

        if clients == 1:
            used = _cpu_when(at)
            run(0)
        else:
            threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
            for thread in threads:
                thread.start()
            used = _cpu_when(at)
            for thread in threads:
                thread.join()
        if failed:
            raise failed[0]
        np.save(out, np.concatenate([np.asarray(each, np.float32) for each in latencies]))
        return {"rate": sum(rates), "calls": sum(map(len, latencies)), "cpu": cpu_seconds() - used}

    def _loop(
        self, rows: list[Any], first: int, k: int, seconds: float, at: float, latencies: list[float]
    ) -> float:
        """Calls a second of one client."""
        search, clock, number, count = self.contender.search, time.perf_counter, first, len(rows)
        time.sleep(max(0.0, at - time.time()))
        began = before = clock()
        until = began + seconds
        while before < until:
            search(rows[number % count], k)
            after = clock()
            latencies.append(after - before)
            before, number = after, number + 1
        return len(latencies) / (before - began)

    def do_many(self, queries: str, count: int, k: int, out: str) -> Answer:
        """`count` queries in one call; their ids go to `out`."""
        several = np.resize(np.load(queries), (count, np.load(queries, mmap_mode="r").shape[1]))
        if not hasattr(self.contender, "search_many"):
            raise NotImplementedError("takes one query at a time")
        began, used = time.perf_counter(), cpu_seconds()
        found = self.contender.search_many(several, k)
        answer = {"seconds": time.perf_counter() - began, "cpu": cpu_seconds() - used}
        np.save(out, filled(list(found), k))
        return answer

    def do_delete(self, ids: str) -> Answer:
        wanted = np.load(ids)
        return _timed(lambda: self.contender.delete(wanted))

    def do_get(self, ids: str) -> Answer:
        wanted = np.load(ids)
        return _timed(lambda: self.contender.get(wanted))

    def do_close(self) -> Answer:
        if self.contender is not None:
            self.contender.close()
        return {}

    def _prepared(self, queries: str) -> list[Any]:
        """Single queries, (1, dimension) each, in the form the contender likes best; made outside
        every clock.
        """
        rows = np.load(queries)
        prepare = getattr(self.contender, "prepare", None)
        singles = [rows[number : number + 1] for number in range(len(rows))]
        return [prepare(each) for each in singles] if prepare else singles

    def _enter_thread(self) -> None:
        enter = getattr(self.contender, "enter_thread", None)
        if enter:
            enter()


def filled(found: list[Any], k: int) -> Any:
    """Ids of several searches as int64 (searches, k), -1 where there were fewer."""
    rows = np.full((len(found), k), -1, np.int64)
    for row, ids in zip(rows, found):  # noqa: B905 - rows are made one for each
        some = np.asarray(ids[:k], np.int64)
        row[: len(some)] = some
    return rows


def cpu_seconds() -> float:
    """Of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_when(at: float) -> float:
    time.sleep(max(0.0, at - time.time()))
    return cpu_seconds()


def _timed(action: Callable[[], object]) -> Answer:
    began, used = time.perf_counter(), cpu_seconds()
    action()
    return {"seconds": time.perf_counter() - began, "cpu": cpu_seconds() - used}


def _adapter(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("adapter", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(path: str) -> None:
    """Answers go to the standard output as it was at the start; what libraries print goes to
    standard error.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    session: Session | None = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            session = session or Session(_adapter(path))
            answer = session.answer(command)
        except BaseException as error:  # whatever a library does wrong is an answer
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if command["do"] == "close":
            os._exit(0)  # some libraries keep threads that would hold the end up
    if session is not None:  # the parent is gone: what this contender started must not stay
        session.do_close()
    os._exit(1)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, whose names must not hide a library's
    main(sys.argv[1])
