"""What metrics add to a search: microseconds per event in the listener that counts, by the number
of segments.

python -m bench.metrics_cost
"""

from __future__ import annotations

from time import perf_counter

from milvine.events import Event, Searched
from milvine.events.server import Answered
from milvine.server.metrics.tally import Tally
from milvine.types import MetricType, Scanned, WatchedSearch

_ROUNDS, _EVENTS = 9, 20_000


def micros(tally: Tally, event: Event) -> float:
    """The quickest round, per event."""
    times = []
    for _ in range(_ROUNDS):
        began = perf_counter()
        for _ in range(_EVENTS):
            tally.listen(event)
        times.append(perf_counter() - began)
    return min(times) / _EVENTS * 1e6


def searched(segments: int) -> Searched:
    scans = [(Scanned("HNSW", (number,), 100_000, 0), 1e-5, 1e-4) for number in range(segments)]
    return Searched(
        "c", 1, 10, 1e-3, WatchedSearch(MetricType.L2, {"ef": 64.0}, 1e-5, 1e-4, 1e-5, scans, 0)
    )


def main() -> None:
    tally = Tally(lambda collection, step: 1 << 26)
    print(f"answered: {micros(tally, Answered('Search', 0, 2000, 1e-3)):.1f} us")
    for segments in (1, 10, 100):
        print(f"searched, {segments} segments: {micros(tally, searched(segments)):.1f} us")


if __name__ == "__main__":
    main()
