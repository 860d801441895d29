"""Runs the faults and prints one line of figures; the exit status is 1 when something was lost or
wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from milvine.testing.crash.__main__ import summary
from milvine.testing.faults import points
from milvine.testing.faults.damage import DAMAGES, damages
from milvine.testing.mix import add_options, from_options


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m milvine.testing.faults", description=__doc__)
    parser.add_argument("what", choices=("kill", "refuse", "full", *DAMAGES))
    parser.add_argument(
        "--each", type=int, default=0, help="at most so many times at each point; 0: every time"
    )
    parser.add_argument(
        "--work", type=Path, help="where folders go; those that went wrong are left there"
    )
    parser.add_argument("--count", type=int, default=300, help="how many flips, cuts or removals")
    parser.add_argument("--seed", type=int, default=1, help="of flips, cuts and removals")
    add_options(parser, pinned=())
    given = parser.parse_args(arguments)
    mix = from_options(given)
    work = given.work or Path(tempfile.mkdtemp(prefix="milvine-faults-"))
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    if given.what in DAMAGES:
        outcome = damages(given.what, given.count, given.seed, work, mix=mix)
        print(*outcome.notes, sep="\n", end="\n" if outcome.notes else "")
        print(outcome.summary(given.what), end=", ")
        print(f"{time.monotonic() - began:.0f} s" + (f", see {work}" if outcome.wrong else ""))
        return 1 if outcome.wrong else 0
    count, report = points.run(work, given.what, given.each, mix.logs)
    print(*report.notes, sep="\n", end="\n" if report.notes else "")
    print(summary(f"{given.what}: cases", count, report), end=", ")
    print(f"{time.monotonic() - began:.0f} s" + ("" if report.ok else f", see {work}"))
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
