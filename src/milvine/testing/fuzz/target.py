"""What a target is, and how its cases are counted."""

from __future__ import annotations

import resource
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

MEMORY_MAX = 512 << 20
"""Bytes by which one case may raise the highest memory of its process."""


class Target(Protocol):
    """One parser or door. Made for a folder to work in; `close` ends what it started."""

    def run(self, random: Random) -> str:
        """Makes a case and runs it; what came of it in a word (`taken`, `refused`, ...).

        Raises:
            Exception: whatever the target should not have done.
        """

    def close(self) -> None:
        """End servers, databases, threads."""


MakeTarget = Callable[[Path], Target]


class Wrong(AssertionError):
    """A target answered, and not as it should."""


@dataclass
class Outcome:
    """Cases by what came of them, and what was wrong: (case number, text)."""

    tried: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str]] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.tried.total()


def case_random(name: str, seed: int, number: int) -> Random:
    """The source of one case; the same in every process and version."""
    return Random(f"{name}-{seed}-{number}")


def run_case(target: Target, name: str, seed: int, number: int, outcome: Outcome) -> None:
    """One case, an unexpected error or memory among the findings."""
    before = peak_memory()
    try:
        what = target.run(case_random(name, seed, number))
    except Exception:
        what = "wrong"
        outcome.findings.append((number, traceback.format_exc(limit=-6)))
    if peak_memory() - before > MEMORY_MAX:
        outcome.findings.append(
            (number, f"the process grew by {(peak_memory() - before) >> 20} MiB")
        )
    outcome.tried[what] += 1


def peak_memory() -> int:
    """Bytes of the most memory this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
