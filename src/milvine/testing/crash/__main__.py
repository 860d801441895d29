"""Runs the crash harness and prints one line of figures; the exit status is 1 when something was
lost or wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from milvine.testing.crash.kill import Kills
from milvine.testing.crash.powercut import PowerCuts
from milvine.testing.crash.trace import compile_tracer
from milvine.testing.crash.verify import Report
from milvine.testing.mix import add_options, from_options


def summary(what: str, count: int, report: Report) -> str:
    return (
        f"{what} {count}, calls acknowledged {report.acknowledged}, rows checked {report.rows}, "
        f"lost {report.lost}, resurrected {report.resurrected}, half batches {report.half}, "
        f"wrong {report.wrong}, failures {report.failures}"
    )


def tried(report: Report) -> str:
    """What it was done under, and how often."""
    return ", ".join(f"{what} {times}" for what, times in sorted(report.tried.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m milvine.testing.crash", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kill = commands.add_parser("kill", help="kill -9 at random moments")
    kill.add_argument("--cycles", type=int, default=50)
    powercut = commands.add_parser(
        "powercut", help="power cuts simulated from a trace of every write"
    )
    powercut.add_argument("--states", type=int, default=200)
    for command in (kill, powercut):
        command.add_argument("--seed", type=int, default=1)
        command.add_argument(
            "--work", type=Path, help="where folders go; those that went wrong are left there"
        )
        add_options(command, ("forks", "signals") if command is kill else ("signals",))
        command.add_argument(
            "--settings",
            type=json.loads,
            default={},
            help="JSON object laid over the tiny settings",
        )
    given = parser.parse_args(arguments)
    mix = from_options(given)
    work = given.work or Path(tempfile.mkdtemp(prefix="milvine-crash-"))
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    if given.command == "kill":
        count, report = given.cycles, Kills(work, given.seed, given.settings, mix).run(given.cycles)
    else:
        cuts = PowerCuts(work, compile_tracer(work), given.seed, given.settings, mix=mix)
        count, report = given.states, cuts.run(given.states)
    print(*report.notes, sep="\n", end="\n" if report.notes else "")
    print(f"mixed: {mix}; {tried(report)}")
    print(summary("cycles" if given.command == "kill" else "states", count, report), end=", ")
    print(f"{time.monotonic() - began:.0f} s" + ("" if report.ok else f", see {work}"))
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
