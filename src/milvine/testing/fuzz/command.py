"""Runs targets in child processes that are watched."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from milvine.interpreter import running_module
from milvine.testing.fuzz.target import Outcome, run_case
from milvine.testing.fuzz.targets import TARGETS, load

CASE_SECONDS_MAX = 60.0
_SAY_SECONDS = 1.0
_NOTES = "progress.json"


@dataclass
class Summary:
    """One target over all its child processes."""

    name: str
    tried: dict[str, int] = field(default_factory=dict)
    findings: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, tried: dict[str, int], findings: list[tuple[int, str]]) -> None:
        for what, count in tried.items():
            self.tried[what] = self.tried.get(what, 0) + count
        self.findings += findings

    def __str__(self) -> str:
        cases = sum(self.tried.values())
        what = ", ".join(
            f"{what} {count}"
            for what, count in sorted(self.tried.items(), key=lambda each: -each[1])
        )
        return (
            f"{self.name}: {cases} cases in {self.seconds:.0f} s, {len(self.findings)} findings"
            f" ({what})"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line of figures for each target and every finding; 1 when there was one."""
    parser = argparse.ArgumentParser(prog="python -m milvine.testing.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"all of them by default: {', '.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--count", type=int, default=1 << 62, help="cases of each target, if there is time"
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="folder for what the targets write; a new one is removed at the end",
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"unknown target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if given.child:
        return child(
            given.targets[0], given.work, given.seed, given.first, given.count, given.minutes * 60
        )
    work = given.work or Path(tempfile.mkdtemp(prefix="milvine-fuzz-"))
    found = 0
    try:
        for name in given.targets or TARGETS:
            summary = watch(
                name, work / name, given.seed, given.first, given.count, given.minutes * 60
            )
            for number, text in summary.findings:
                print(f"--- {name} --seed {given.seed} --first {number} --count 1\n{text}")
            print(summary, flush=True)
            found += len(summary.findings)
    finally:
        if given.work is None:
            shutil.rmtree(work, ignore_errors=True)
    return 1 if found else 0


def watch(name: str, work: Path, seed: int, first: int, count: int, seconds: float) -> Summary:
    """Child processes one after the other until time or cases are used up; one that hangs or dies
    is a finding.
    """
    summary, began, number = Summary(name), time.monotonic(), first
    while number < first + count and (left := seconds - (time.monotonic() - began)) > 0:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        ended = _one_child(name, work, seed, number, first + count - number, left)
        tried, findings, at = _progress(work)
        summary.add(tried, findings)
        if ended is not None:
            summary.findings.append((at, ended))
        number = at + 1
        if ended is None or len(summary.findings) > 50:
            break
    summary.seconds = time.monotonic() - began
    return summary


def _one_child(
    name: str, work: Path, seed: int, number: int, count: int, seconds: float
) -> str | None:
    """None when it came to its end, otherwise what was wrong."""
    arguments = [name, "--child", "--work", str(work), "--seed", str(seed)]
    arguments += ["--first", str(number), "--count", str(count), "--minutes", str(seconds / 60)]
    command = running_module("milvine.testing.fuzz", *arguments)
    with (work / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=os.getcwd()
        )
        try:
            last, since = -1, time.monotonic()
            while process.poll() is None:
                time.sleep(0.2)
                _, _, at = _progress(work)
                if at != last:
                    last, since = at, time.monotonic()
                elif time.monotonic() - since > CASE_SECONDS_MAX:
                    return f"case takes over {CASE_SECONDS_MAX:.0f} seconds"
        finally:
            process.kill()
            process.wait()
    if process.returncode == 0:
        return None
    printed = (work / "output.txt").read_text("utf-8", "replace")[-2000:]
    return f"the process ended with {process.returncode}: {printed}"


def _progress(work: Path) -> tuple[dict[str, int], list[tuple[int, str]], int]:
    """Cases by outcome, findings, and the number of the case that runs."""
    try:
        at = int((work / "case").read_text() or -1)
        notes = json.loads((work / _NOTES).read_text())
    except (OSError, ValueError):
        return {}, [], -1
    return notes["tried"], [(number, text) for number, text in notes["findings"]], at


def child(name: str, work: Path, seed: int, first: int, count: int, seconds: float) -> int:
    """Cases from `first` on; the number of each is written before it begins."""
    outcome, until, said = Outcome(), time.monotonic() + seconds, 0.0
    (work / "case").write_text(str(first))
    _say(work, outcome)
    target = load(name)(work)
    with (work / "case").open("r+") as case:
        for number in range(first, first + count):
            case.seek(0)
            case.write(str(number))
            case.flush()
            run_case(target, name, seed, number, outcome)
            if (now := time.monotonic()) - said > _SAY_SECONDS or outcome.findings:
                _say(work, outcome)
                said = now
            if now > until or len(outcome.findings) >= 20:
                break
    target.close()
    _say(work, outcome)
    return 0


def _say(work: Path, outcome: Outcome) -> None:
    new = work / (_NOTES + ".new")
    new.write_text(json.dumps({"tried": outcome.tried, "findings": outcome.findings}))
    new.replace(work / _NOTES)
