"""Writers, readers, deleters and index builds on one server at once; exact counts at the end.

    python -m milvine.testing.load --minutes 10 --writers 16 --readers 16 --deleters 2

starts a server on free ports with a small memory budget, and clients in processes of their own.
Every answer is checked when it comes: a row that was acknowledged to one client must be found by
all others at once. At the end every acknowledged row must be there once with its vector, and every
deleted one gone. Prints latencies, rates, memory and processor time; ends with 1 when an answer was
wrong or an error, when a client got no answer for `--stall` seconds (then the stacks of all
processes are in the work folder), or when the server held more memory than its budget.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from milvine.testing.load.figures import lines
from milvine.testing.load.plan import Plan
from milvine.testing.load.running import run
from milvine.testing.mix import Mix, add_options, from_options

BUDGET = {
    "cache.cache_size": "256MB",
    "cache.insert_buffer_size": "64MB",
    "network.request_bytes_max": "128MB",
}
"""Small, so that a run shows back pressure and not the size of the machine."""


DEFAULT = Mix(dimensions=(16, 50, 64, 100, 256), forks=hasattr(os, "fork"))
"""Of which a seed chooses dimensions and a place of the log. In very few, rows lie too close."""
_DIMENSIONS = 2


def by_seed(mix: Mix, seed: int) -> Mix:
    """What one run takes of the mix."""
    random = Random(seed)
    dimensions = random.sample(mix.dimensions, min(_DIMENSIONS, len(mix.dimensions)))
    return replace(mix, dimensions=tuple(sorted(dimensions)), logs=(mix.log(seed),))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m milvine.testing.load", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    for kind, count in (("writers", 16), ("readers", 16), ("deleters", 2), ("indexers", 1)):
        parser.add_argument(f"--{kind}", type=int, default=count)
    parser.add_argument("--processes", type=int, default=8, help="of the clients together")
    add_options(parser, ("forks",), DEFAULT)
    parser.add_argument("--batch", type=int, default=500, help="rows of one insert")
    parser.add_argument("--nq", type=int, default=16, help="queries of a search of many")
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds a client waits between two calls"
    )
    parser.add_argument(
        "--stall", type=float, default=120.0, help="seconds without an answer that are a deadlock"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the server"
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="folder of data, journals and stacks; kept when something is wrong",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    given = parsed(arguments)
    work = given.work or Path(tempfile.mkdtemp(prefix="milvine-load-"))
    work.mkdir(parents=True, exist_ok=True)
    mix = by_seed(from_options(given), given.seed)
    elsewhere = {"wal.path": str(work.absolute() / "log")} if mix.logs == ("elsewhere",) else {}
    settings = BUDGET | elsewhere | dict(pair.split("=", 1) for pair in given.set)
    plan = Plan(
        given.minutes * 60, given.writers, given.readers, given.deleters, given.indexers,
        given.processes,
        mix.dimensions, given.batch, given.nq, given.pause, given.stall, given.seed, mix.rows,
        mix.forks, settings,
    )  # fmt: skip
    outcome = run(plan, work)
    print(f"mixed: {mix}{'; a child was forked' if mix.forks else ''}")
    print(*lines(outcome, os.cpu_count() or 1), sep="\n")
    print(
        *(f"WRONG: {problem}" for problem in outcome.problems),
        sep="\n",
        end="\n" if outcome.problems else "",
    )
    if outcome.ok:
        shutil.rmtree(work)
    else:
        print(f"see {work}")
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main())
