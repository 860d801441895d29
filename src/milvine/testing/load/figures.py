"""Figures of a run as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from milvine.testing.load.serving import MIB, Usage


@dataclass
class Outcome:
    """What a run found. `problems` must be empty."""

    seconds: float
    usage: Usage
    memory_bound: int
    latencies: dict[str, list[float]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    live: int = 0
    gone: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems


def lines(outcome: Outcome, cores: int) -> Iterator[str]:
    """A table of latencies, then memory, processor time and what was compared."""
    yield from latency_table(outcome.latencies, outcome.seconds)
    yield ""
    rates = ", ".join(
        f"{kind} {rows / outcome.seconds:,.0f}" for kind, rows in outcome.rows.items()
    )
    yield f"rows a second: {rates}"
    usage = outcome.usage
    if usage.anonymous:
        share = usage.cpu_seconds / outcome.seconds / cores
        yield f"server: {usage.cpu_seconds:.0f} s of processor time, {share:.0%} of {cores} cores"
        yield (
            f"memory, anonymous: {_course(usage.anonymous)} MiB; bound"
            f" {outcome.memory_bound // MIB}"
        )
        yield f"memory, with mapped files: {_course(usage.resident)} MiB"
        yield f"memory of index builders: {_course(usage.builders)} MiB"
        yield f"threads at most {usage.threads_max}, open files at most {usage.files_max}"
    yield (
        f"rows compared {outcome.live}, deleted rows found gone {outcome.gone}, wrong"
        f" {len(outcome.problems)}"
    )


def latency_table(latencies: Mapping[str, Sequence[float]], seconds: float) -> Iterator[str]:
    """Milliseconds by operation, one line each."""
    heads = ("p50 ms", "p95 ms", "p99 ms", "max ms")
    yield f"{'operation':<16}{'calls':>9}{'per s':>9}" + "".join(f"{head:>10}" for head in heads)
    for name, taken in sorted(latencies.items()):
        found = np.percentile(np.array(taken) * 1000, (50, 95, 99, 100))
        yield f"{name:<16}{len(taken):>9}{len(taken) / seconds:>9.1f}" + "".join(
            f"{value:>10.1f}" for value in found
        )


def _course(samples: Sequence[int]) -> str:
    low, high, last = min(samples) // MIB, max(samples) // MIB, samples[-1] // MIB
    return f"least {low}, most {high}, at the end {last}"
