"""Cost per query at 100,000 and 1,000,000 rows: Milvine's must grow as raw faiss's does."""

from __future__ import annotations

import argparse

from bench.data import load
from bench.doors import WORK_FOLDER
from bench.search import plan, save
from milvine.bench.measure import measure as run
from milvine.bench.plan import OWN_ENTRIES, RAW
from milvine.bench.results import Results

SMALL, LARGE = 100_000, 1_000_000
GROWTH_MAX = 1.1


def measure(options: argparse.Namespace) -> None:
    large = options.rows or LARGE
    sets = (
        load(f"clustered:{rows}", queries=options.queries)
        for rows in (large // (LARGE // SMALL), large)
    )
    results = run(sets, plan(options, OWN_ENTRIES), WORK_FOLDER)
    add_growth(results)
    save(results, "scale")


def add_growth(results: Results) -> None:
    """For each kind and contender, cost per query at the large size over that at the small one,
    beside raw's.
    """
    singles = [row for row in results.rows if row["what"] == "search" and row["clients"] == 1]
    sizes = sorted({row["rows"] for row in singles})
    rates = {(row["kind"], row["contender"], row["rows"]): row["rate"] for row in singles}
    for kind, contender in sorted({(row["kind"], row["contender"]) for row in singles}):
        small, large = (rates.get((kind, contender, rows)) for rows in (sizes[0], sizes[-1]))
        raw_small, raw_large = (rates.get((kind, RAW, rows)) for rows in (sizes[0], sizes[-1]))
        if contender != RAW and small and large and raw_small and raw_large:
            results.add(
                {
                    "what": "growth",
                    "data": "clustered128",
                    "kind": kind,
                    "contender": contender,
                    "grows": small / large,
                    "raw_grows": raw_small / raw_large,
                    "name": (
                        f"{kind}, {contender}: growth of the cost of a query with ten times the"
                        " rows, over raw's"
                    ),
                    "value": (small / large) / (raw_small / raw_large),
                    "goal": GROWTH_MAX,
                    "at_most": True,
                }
            )
