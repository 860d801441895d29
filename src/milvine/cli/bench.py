"""`milvine bench`: Milvine beside raw faiss on this machine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

# With these set, every figure would be about another machine.
_BENDS_BLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class BenchKind(str, Enum):
    hnsw = "HNSW"
    ivf_flat = "IVF_FLAT"
    exact = "exact"


class BenchMetric(str, Enum):
    l2 = "L2"
    ip = "IP"


def bench(
    rows: Annotated[
        int | None, typer.Option(min=1000, help="Rows of the set.", show_default="100000")
    ] = None,
    queries: Annotated[int, typer.Option(min=10, help="Rows held out to search for.")] = 1000,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds that contenders take turns in; medians are told.")
    ] = 5,
    seconds: Annotated[float, typer.Option(min=0.05, help="Of each measurement in a round.")] = 2.0,
    kinds: Annotated[
        list[BenchKind] | None, typer.Option(help="Once for each.", show_default="all")
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            help="Your vectors, a .npy file of floats.", show_default="clustered, 128 wide"
        ),
    ] = None,
    metric: Annotated[BenchMetric, typer.Option(help="For your vectors.")] = BenchMetric.l2,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of builds and batches.", show_default="cores")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the JSON and the picture.")] = Path(
        "milvine-bench"
    ),
) -> None:
    """Measure raw faiss, Milvine embedded and its server in turns: recall, rates, latency, CPU,
    ingest, builds.
    """
    with _plain_environment(), _ends_in_order():
        _measure(rows, queries, rounds, seconds, kinds, vectors, metric, threads, out)


def _measure(
    rows: int | None,
    queries: int,
    rounds: int,
    seconds: float,
    kinds: list[BenchKind] | None,
    vectors: Path | None,
    metric: BenchMetric,
    threads: int | None,
    out: Path,
) -> None:
    try:
        from milvine.bench.measure import measure
        from milvine.bench.plan import KINDS, Plan
        from milvine.bench.vectors import clustered, from_file
    except ModuleNotFoundError as error:
        print(f"milvine: {error.name} is missing: pip install 'milvine[server]'", file=sys.stderr)
        raise typer.Exit(1) from None
    from milvine.types import MetricType

    plan = Plan(
        threads or os.cpu_count() or 1,
        rounds,
        seconds,
        kinds=tuple(k.value for k in kinds or ()) or tuple(KINDS),
    )
    try:
        data = (
            from_file(vectors, MetricType[metric.value], rows, queries)
            if vectors
            else clustered(rows or 100_000, queries)
        )
    except (OSError, ValueError) as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for path in measure([data], plan, out / "work").save(out, "bench"):
        print(f"written: {path}")


@contextmanager
def _plain_environment() -> Iterator[None]:
    """Contenders are started without the variables that bend BLAS, which numpy and
    faiss read when they load."""
    taken = {name: os.environ.pop(name) for name in _BENDS_BLAS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """SIGTERM ends this by way of every `finally`, which ends servers."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
