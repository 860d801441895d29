"""A short benchmark whose ratios to raw faiss are compared with the recorded ones: `make
bench-guard`.

`bench/guard.json` holds what was recorded, with the machine, and how far below a ratio may fall.
`--record` writes it anew. Ends with 1 when a ratio fell further.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.data import load
from bench.doors import WORK_FOLDER
from milvine.bench.measure import measure as run
from milvine.bench.plan import KINDS, RAW, Plan
from milvine.bench.results import machine

FILE = Path(__file__).parent / "guard.json"
ROWS, SECONDS = 20_000, 0.5
TOLERANCES = {"search": 0.25, "many": 0.25, "recall": 0.02}


def measure(options: argparse.Namespace) -> None:
    plan = Plan(
        options.threads,
        options.rounds,
        min(options.seconds, SECONDS),
        kinds=tuple(options.kinds or KINDS),
        many=(1000,),
        curve=False,
        lists=0,
    )
    rows = options.rows or ROWS
    found = ratios(
        run([load(f"clustered:{rows}", queries=options.queries)], plan, WORK_FOLDER).rows
    )
    if options.record or not FILE.exists():
        content = {"machine": machine(), "rows": rows, "tolerances": TOLERANCES, "ratios": found}
        FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"recorded {len(found)} ratios in {FILE.name}")
        return
    recorded = json.loads(FILE.read_text(encoding="utf-8"))
    if recorded["rows"] != rows:
        raise SystemExit(
            f"{FILE.name} was recorded with {recorded['rows']} rows: give as many, or --record"
        )
    worse = fallen(recorded["ratios"], found, recorded["tolerances"])
    print("\n".join(worse) if worse else f"{len(found)} ratios are as recorded or better")
    sys.exit(1 if worse else 0)


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Share of raw faiss's rate, and recall, by what was measured."""
    found: dict[str, float] = {}
    for row in rows:
        if (
            row["what"] in ("search", "many")
            and row["contender"] != RAW
            and row["of_raw"] is not None
        ):
            size = (
                f"{row['clients']} clients" if row["what"] == "search" else f"{row['nq']} in a call"
            )
            name = f"{row['kind']}, {row['contender']}, {size}"
            found[f"{row['what']}: {name}"] = round(row["of_raw"], 4)
            if "recall" in row:
                found[f"recall: {name}"] = round(row["recall"], 4)
    return found


def fallen(
    recorded: Mapping[str, float], found: Mapping[str, float], tolerances: Mapping[str, float]
) -> list[str]:
    """A line for each recorded ratio that is now missing, or lower by more than its tolerance, a
    share of it.
    """
    lines = []
    for name, before in recorded.items():
        now, tolerance = found.get(name), tolerances[name.split(":")[0]]
        if now is None:
            lines.append(f"{name}: {before:.3f} was recorded, now it was not measured")
        elif now < before * (1 - tolerance):
            lines.append(
                f"{name}: {now:.3f}, recorded {before:.3f}, tolerated down to"
                f" {before * (1 - tolerance):.3f}"
            )
    return lines
