"""All contenders on one set of vectors: loaded, then index by index built, checked and timed in
turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from milvine.bench.fleet import (
    HEAD_START,
    ContenderFailed,
    Serving,
    Team,
    cpu_seconds,
    resident_bytes,
)
from milvine.bench.plan import RAW, Entry, K, Kind, Plan
from milvine.bench.vectors import Dataset, recall

Row = dict[str, Any]
Tell = Callable[[Row], None]
MIB = 1 << 20


class Race:
    """The contenders of a plan on one data set. A contender that fails is noted and takes no
    further part.
    """

    def __init__(self, data: Dataset, plan: Plan, folder: Path, tell: Tell) -> None:
        self.data, self.plan, self.folder, self.tell = data, plan, folder, tell
        self.teams: dict[str, Team] = {}
        self.servers: dict[str, Serving] = {}
        self.entries = {entry.name: entry for entry in plan.entries}
        self.vectors, self.queries = folder / "train.npy", folder / "queries.npy"
        np.save(self.vectors, data.train)
        np.save(self.queries, data.queries)

    def run(self, kinds: list[Kind]) -> None:
        """Everything, one row to `tell` for each figure."""
        try:
            self._each(self._open, self.plan.entries)
            self._each(self._load, self._in_race())
            for kind in kinds:
                self._run_kind(kind)
            if kinds:
                self._each(lambda entry: self._cold_start(entry, kinds[-1]), self._in_race())
            self._each(self._load_lists, self._in_race())
        finally:
            self.close()

    def close(self) -> None:
        for team in reversed(list(self.teams.values())):  # guests before their hosts
            team.close()
        for server in self.servers.values():
            server.stop()
        self.teams.clear()
        self.servers.clear()

    def _run_kind(self, kind: Kind) -> None:
        able = [entry for entry in self._in_race() if kind.name in entry.kinds]
        self._each(lambda entry: self._build(entry, kind), able)
        found: dict[str, float] = {}
        self._each(
            lambda entry: found.update({entry.name: self._recall(entry, kind, kind.search)}), able
        )
        self._clients(kind, [entry for entry in able if entry.name in found], found)
        self._many(kind, [entry for entry in able if entry.name in found])
        if self.plan.curve and kind.breadths:
            self._each(lambda entry: self._curve(entry, kind), [e for e in able if e.name in found])

    def _in_race(self) -> list[Entry]:
        return [entry for name, entry in self.entries.items() if name in self.teams]

    def _each(self, action: Callable[[Entry], object], entries: Iterable[Entry]) -> None:
        """One entry after the other; one that fails, now or before, takes no further part."""
        for entry in entries:
            try:
                if action == self._open or entry.name in self.teams:
                    action(entry)
            except (ContenderFailed, OSError, RuntimeError) as error:
                self._drop(entry, str(error))

    def _by_rounds(
        self, rounds: int, able: list[Entry], action: Callable[[Entry], Row]
    ) -> dict[str, list[Row]]:
        """What `action` gave for each entry in each round, by name. Entries take turns, so that a
        busy machine slows all of them alike."""
        given: dict[str, list[Row]] = {entry.name: [] for entry in able}

        def turn(entry: Entry) -> None:
            given[entry.name].append(action(entry))

        for _ in range(rounds):
            self._each(turn, able)
        return {name: rows for name, rows in given.items() if len(rows) == rounds}

    def _drop(self, entry: Entry, why: str) -> None:
        self._row("failed", entry, why=why)
        team = self.teams.pop(entry.name, None)
        if team:
            team.close()

    def _row(self, what: str, entry: Entry, **figures: Any) -> None:
        self.tell(
            {
                "what": what,
                "data": self.data.name,
                "rows": self.data.rows,
                "contender": entry.name,
                **figures,
            }
        )

    # before the clock

    def _open(self, entry: Entry) -> None:
        setup = {
            "dimension": self.data.dimension,
            "metric": self.data.metric.name,
            "threads": self.plan.threads,
            "create": entry.guest_of is None,
        }
        own = self.folder / entry.name.replace(" ", "-")
        address = f"file://{own}" if entry.in_a_folder else str(own)
        if entry.own_server:
            self.servers[entry.name] = Serving(own, self.plan.threads)
            address = self.servers[entry.name].address
        if entry.guest_of:
            if entry.guest_of not in self.teams:
                raise ContenderFailed(f"{entry.guest_of} is not there")
            address = self.teams[entry.guest_of].address
        team = Team(entry.adapter, setup, address, entry.python, entry.served)
        self.teams[entry.name] = team
        team.open()
        host = self.servers.get(entry.guest_of or entry.name)
        team.server_pid = host.pid if host else team.server_pid

    def _load(self, entry: Entry) -> None:
        if entry.guest_of:
            return
        team, before = self.teams[entry.name], self._server_cpu(entry)
        reply = team.first.ask(
            "load", vectors=str(self.vectors), batch=entry.batch, rows=self.data.rows
        )
        used = self._server_cpu(entry) - before
        if not entry.durable:
            return
        self._row(
            "ingest",
            entry,
            version=team.version,
            rate=reply["rows"] / reply["seconds"],
            seconds=reply["seconds"],
            client_cpu=reply["cpu"],
            server_cpu=used,
        )

    def _build(self, entry: Entry, kind: Kind) -> None:
        if entry.guest_of is None:
            reply = self.teams[entry.name].first.ask(
                "build", kind=kind.name, params=dict(kind.build)
            )
            self._row(
                "build", entry, kind=kind.name, seconds=reply["seconds"], mib=self._mib(entry)
            )

    def _mib(self, entry: Entry) -> float:
        team = self.teams[entry.name]
        pids = [team.server_pid] if team.server_pid else [team.first.pid]
        return sum(map(resident_bytes, pids)) / MIB

    # rates

    def _recall(self, entry: Entry, kind: Kind, params: Any) -> float:
        out = str(self.folder / "found.npy")
        team = self.teams[entry.name]
        team.ask_all("tune", self._processes(entry), kind=kind.name, params=dict(params))
        team.first.ask("answers", queries=str(self.queries), k=K, out=out)
        return recall(self.data, np.load(out), K)

    def _processes(self, entry: Entry) -> int:
        return max(self.plan.clients) if entry.served else 1

    def _clients(self, kind: Kind, able: list[Entry], found: dict[str, float]) -> None:
        def all_sizes(entry: Entry) -> Row:
            return {str(n): self.search(entry, n, self.plan.seconds) for n in self.plan.clients}

        rounds = self._by_rounds(self.plan.rounds, able, all_sizes)
        for clients in self.plan.clients:
            cells = {name: [each[str(clients)] for each in rows] for name, rows in rounds.items()}
            for name, each in cells.items():
                figures = _spread(each, cells.get(RAW, []))
                self._row(
                    "search",
                    self.entries[name],
                    kind=kind.name,
                    breadth=kind.search.get(kind.breadth),
                    clients=clients,
                    recall=found[name],
                    **figures,
                )

    def search(self, entry: Entry, clients: int, seconds: float) -> Row:
        """Calls a second of all clients together, their latencies in microseconds, and CPU on both
        sides per call.
        """
        team = self.teams[entry.name]
        processes = clients if entry.served else 1
        before, at = self._server_cpu(entry), time.time() + HEAD_START
        outs = [self.folder / f"seconds-{number}.npy" for number in range(processes)]
        for number, worker in enumerate(team.workers[:processes]):
            worker.tell(
                "search",
                queries=str(self.queries),
                k=K,
                clients=1 if entry.served else clients,
                seconds=seconds,
                at=at,
                out=str(outs[number]),
            )
        replies = [worker.hear() for worker in team.workers[:processes]]
        used = self._server_cpu(entry) - before
        micros = 1e6 * np.concatenate([np.load(out) for out in outs])
        calls = sum(each["calls"] for each in replies)
        return {
            "rate": sum(each["rate"] for each in replies),
            "p50": float(np.percentile(micros, 50)),
            "p99": float(np.percentile(micros, 99)),
            "client_cpu": 1e6 * sum(each["cpu"] for each in replies) / calls,
            "server_cpu": 1e6 * used / calls if team.server_pid else None,
        }

    def _server_cpu(self, entry: Entry) -> float:
        pid = self.teams[entry.name].server_pid
        return cpu_seconds(pid) if pid else 0.0

    def _many(self, kind: Kind, able: list[Entry]) -> None:
        out = str(self.folder / "many.npy")
        able = [entry for entry in able if entry.name in self.teams and self.teams[entry.name].many]
        for count in self.plan.many:
            ask = partial(self._ask_many, count=count, out=out)
            self._by_rounds(1, able, ask)  # outside the clock: files are mapped on first use
            rates = self._by_rounds(self.plan.rounds, able, ask)
            limit = median(rates[RAW], "rate") if RAW in rates else None
            for name, rounds in rates.items():
                self._row(
                    "many", self.entries[name], kind=kind.name, nq=count, **_rates(rounds, limit)
                )

    def _ask_many(self, entry: Entry, count: int, out: str) -> Row:
        reply = self.teams[entry.name].first.ask(
            "many", queries=str(self.queries), count=count, k=K, out=out
        )
        return {"rate": count / reply["seconds"]}

    def _curve(self, entry: Entry, kind: Kind) -> None:
        """One client, other breadths of search, once each: for the picture."""
        for value in kind.breadths:
            found = self._recall(entry, kind, {**kind.search, kind.breadth: value})
            rate = self.search(entry, 1, self.plan.seconds / 2)["rate"]
            self._row("curve", entry, kind=kind.name, breadth=value, recall=found, rate=rate)

    # once, at the end

    def _cold_start(self, entry: Entry, kind: Kind) -> None:
        """From the start of a process on files that are there to the first answer.

        The process is the server, whose client waits with everything imported, or the program with
        the database in it.
        """
        if entry.own_server or entry.in_a_folder:
            np.save(self.folder / "one.npy", self.data.queries[:1])
            times = [self._first_answer(entry, kind) for _ in range(self.plan.rounds)]
            self._row("cold start", entry, kind=kind.name, seconds=statistics.median(times))

    def _first_answer(self, entry: Entry, kind: Kind) -> float:
        team, server = self.teams[entry.name], self.servers.get(entry.name)
        team.close()
        team.setup = {**team.setup, "create": False}
        began = time.perf_counter()
        if server:
            server.stop()
            team.wake()
            began = time.perf_counter()
            server.start()
            team.server_pid = server.pid
        team.open()
        team.first.ask("tune", kind=kind.name, params=dict(kind.search))
        team.first.ask(
            "answers", queries=str(self.folder / "one.npy"), k=K, out=str(self.folder / "first.npy")
        )
        return time.perf_counter() - began

    def _load_lists(self, entry: Entry) -> None:
        """The first rows once more, as lists of Python numbers, into a collection of its own."""
        if not entry.served or not self.plan.lists or entry.adapter.name != "milvus_1x.py":
            return
        setup = {
            **self.teams[entry.name].setup,
            "collection": "lists",
            "lists": True,
            "create": True,
        }
        team = Team(entry.adapter, setup, self._address(entry), entry.python)
        try:
            team.open()
            rows = min(self.plan.lists, self.data.rows)
            reply = team.first.ask("load", vectors=str(self.vectors), batch=5_000, rows=rows)
            self._row(
                "ingest lists",
                entry,
                rate=reply["rows"] / reply["seconds"],
                seconds=reply["seconds"],
            )
        finally:
            team.close()

    def _address(self, entry: Entry) -> str:
        return self.servers[entry.guest_of or entry.name].address


def median(rounds: list[Row], name: str) -> float:
    return float(statistics.median(each[name] for each in rounds))


def _rates(rounds: list[Row], limit: float | None) -> Row:
    """Median, least and most of the rates, and the median beside that of raw faiss."""
    rates = [each["rate"] for each in rounds]
    middle = float(statistics.median(rates))
    return {
        "rate": middle,
        "least": min(rates),
        "most": max(rates),
        "of_raw": middle / limit if limit else None,
    }


def _spread(rounds: list[Row], raw: list[Row]) -> Row:
    """Medians over the rounds. What a call takes over raw faiss is told by the median calls, which
    others' work on the machine moves least."""
    figures = {name: median(rounds, name) for name in ("p50", "p99", "client_cpu")}
    server = None if rounds[0]["server_cpu"] is None else median(rounds, "server_cpu")
    over = figures["p50"] - median(raw, "p50") if raw else None
    rates = _rates(rounds, median(raw, "rate") if raw else None)
    return {**rates, "over_raw_us": over, **figures, "server_cpu": server}
