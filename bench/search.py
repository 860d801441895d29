"""Searching, as `milvine bench` measures it, on real data and through pymilvus 1.1.2 as well."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from bench import data as sets
from bench.doors import WORK_FOLDER
from bench.report import OUT
from milvine.bench.measure import measure as run
from milvine.bench.plan import ADAPTERS, KINDS, OWN_ENTRIES, RAW, Entry, Plan
from milvine.bench.results import Results
from milvine.bench.vectors import Dataset
from tests.real_clients.environments import Unavailable, python_with

SETS = ["clustered", "wordnet", "glove"]
PYMILVUS = "pymilvus 1.1.2"


def measure(options: argparse.Namespace) -> None:
    entries = [*OWN_ENTRIES, *_pymilvus()]
    save(run(load(options), plan(options, entries), WORK_FOLDER), "search")


def plan(options: argparse.Namespace, entries: Iterable[Entry]) -> Plan:
    """The command line's rounds, kinds and contenders; raw faiss, which ratios refer to, takes part
    always.
    """
    wanted = options.contenders
    chosen = [entry for entry in entries if wanted is None or entry.name in (*wanted, RAW)]
    return Plan(
        options.threads,
        options.rounds,
        options.seconds,
        kinds=tuple(options.kinds or KINDS),
        curve=not options.no_curve,
        entries=tuple(chosen),
    )


def load(options: argparse.Namespace) -> Iterator[Dataset]:
    """The sets that the command line names; one that cannot be had is left out with a word on how
    to get it.
    """
    for name in options.sets:
        try:
            yield sets.load(name, options.rows, options.queries)
        except sets.DataMissing as missing:
            print(f"{name} is left out: {missing}", flush=True)


def save(results: Results, name: str) -> list[Path]:
    written = results.save(OUT, name)
    for path in written:
        print(f"written: {path.relative_to(sets.ROOT)}")
    return written


def _pymilvus() -> Iterator[Entry]:
    """The old client, on the server and collection of ours."""
    try:
        python = python_with("pymilvus==1.1.2")
    except Unavailable as error:
        print(f"{PYMILVUS} is left out: {error}", file=sys.stderr)
        return
    yield replace(
        Entry(PYMILVUS, ADAPTERS / "milvus_1x.py"),
        python=python,
        served=True,
        guest_of="server",
        kinds=tuple(KINDS),
    )
