"""Collections dropped and made anew with other dimensions and metrics while others work with them.

    python -m milvine.testing.races --minutes 10 --door native grpc http embedded

Callers insert, delete, search, get, describe, build, flush and compact under names that lead to
another collection every moment; backups are made, restored and compared meanwhile. Every answer is
checked: a call that met one collection from its beginning to its end must succeed if it fits, and
be refused if it does not; one that met a change may be refused, but what it is answered must be of
one shape, the one it asked for. At the end every acknowledged row must be there, every deleted one
gone, and again after the folder was verified and opened anew. Ends with 1 when anything was wrong,
or a process died.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from milvine.testing.races.running import DOORS, Plan, run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m milvine.testing.races", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="at each door")
    parser.add_argument("--door", nargs="+", choices=DOORS, default=list(DOORS))
    parser.add_argument(
        "--processes", type=int, default=2, help="of callers, where there is a server"
    )
    parser.add_argument(
        "--names", type=int, default=2, help="of collections, for each process of callers"
    )
    parser.add_argument(
        "--threads", type=int, default=3, help="that write, and that read, in each process"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the server"
    )
    parser.add_argument(
        "--work", type=Path, help="folder of data and stacks; kept when something is wrong"
    )
    given = parser.parse_args(arguments)
    settings = dict(pair.split("=", 1) for pair in given.set)
    plan = Plan(
        given.minutes * 60, given.processes, given.names, given.threads, given.seed, settings
    )
    top = given.work or Path(tempfile.mkdtemp(prefix="milvine-races-"))
    wrong = 0
    for door in given.door:
        if door == "native" and not importlib.util.find_spec("pygrpc_native"):
            print("native: not installed here")
            continue
        work = top / door
        work.mkdir(parents=True)
        outcome = run(door, plan, work)
        calls = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.calls.items()))
        print(
            f"{door}: {calls}; backups {outcome.backups}, rows compared {outcome.rows}, wrong"
            f" {len(outcome.problems)}"
        )
        print(
            *(f"WRONG: {problem}" for problem in outcome.problems),
            sep="\n",
            end="\n" if outcome.problems else "",
        )
        wrong += len(outcome.problems)
        sys.stdout.flush()
    if not wrong:
        shutil.rmtree(top)
    else:
        print(f"see {top}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
