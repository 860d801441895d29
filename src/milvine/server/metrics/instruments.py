"""Counters, gauges, histograms and summaries that cost little to feed and become Prometheus
families when scraped.

None of them locks: whoever owns some guards them with one lock, taken once per event rather than
once per number.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]
QUANTILES = (0.95, 0.9, 0.8)
"""Those of 1.x."""
WINDOW_SIZE = 1024
WINDOW_SECONDS = 600.0


class Instrument(Protocol):
    """Something with a value that a scrape asks for."""

    def family(self) -> Metric: ...


class Counter:
    """A sum that only grows, by label values. Label sets in `start` are shown as 0 before anything
    is counted.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), start: Sequence[Labels] = ()
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._values: dict[Labels, float] = dict.fromkeys(start if labels else [()], 0.0)

    def add(self, amount: float = 1.0, labels: Labels = ()) -> None:
        self._values[labels] = self._values.get(labels, 0.0) + amount

    def set(self, value: float, labels: Labels = ()) -> None:
        """For a sum that is kept elsewhere."""
        self._values[labels] = value

    def family(self) -> Metric:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return family


class Gauge:
    """A value as it was last, by label values."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), start: Sequence[Labels] = ()
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._values: dict[Labels, float] = dict.fromkeys(start if labels else [()], 0.0)

    def set(self, value: float, labels: Labels = ()) -> None:
        self._values[labels] = value

    def family(self) -> Metric:
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return family


class Histogram:
    """How many observations were at most as large as each bound, by label values; all of them and
    their sum as well.
    """

    def __init__(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        labels: Sequence[str] = (),
        start: Sequence[Labels] = (),
    ) -> None:
        self._name, self._text, self._bounds, self._labels = name, text, list(bounds), labels
        self._cells: dict[Labels, list[float]] = {}
        for values in start if labels else [()]:
            self._cells[values] = self._empty()

    def observe(self, value: float, times: int = 1, labels: Labels = ()) -> None:
        """Count `value`, as if it had been observed `times` times."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = self._empty()
        cell[bisect_left(self._bounds, value)] += times
        cell[-1] += value * times

    def observe_all(self, values: Sequence[float], labels: Labels = ()) -> None:
        """Count each of `values` once."""
        cell, bounds = self._cells.get(labels), self._bounds
        if cell is None:
            cell = self._cells[labels] = self._empty()
        for value in values:
            cell[bisect_left(bounds, value)] += 1
        cell[-1] += sum(values)

    def sum(self, labels: Labels = ()) -> float:
        return self._cells[labels][-1] if labels in self._cells else 0.0

    def family(self) -> Metric:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names = [_le(bound) for bound in (*self._bounds, float("inf"))]
        for labels, cell in self._cells.items():
            running, buckets = 0.0, []
            for name, count in zip(names, cell, strict=False):
                running += count
                buckets.append((name, running))
            family.add_metric(labels, buckets, cell[-1])
        return family

    def _empty(self) -> list[float]:
        """Counts by bucket, the last for all above the bounds, then the sum."""
        return [0.0] * (len(self._bounds) + 2)


class Summary:
    """Count and sum of everything, quantiles of a sliding window.

    The window holds the last WINDOW_SIZE calls of `observe` that are at most WINDOW_SECONDS old. An
    empty one has no quantiles (NaN). In 1.x they were about the whole life of the server; a
    dashboard wants to know how it is now.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._count, self._sum = 0, 0.0
        self._window: deque[tuple[float, float, int]] = deque(maxlen=WINDOW_SIZE)

    def observe(self, value: float, times: int = 1, when: float | None = None) -> None:
        """Count `value`, as if it had been observed `times` times; `when`, as `time.monotonic` has
        it, or now.
        """
        self._count += times
        self._sum += value * times
        self._window.append((time.monotonic() if when is None else when, value, times))

    def family(self) -> Metric:
        metric = Metric(self._name, self._text, "summary")
        for quantile, value in zip(QUANTILES, self._quantiles(), strict=True):
            metric.add_sample(self._name, {"quantile": str(quantile)}, value)
        metric.add_sample(f"{self._name}_count", {}, self._count)
        metric.add_sample(f"{self._name}_sum", {}, self._sum)
        return metric

    def _quantiles(self) -> Iterator[float]:
        oldest = time.monotonic() - WINDOW_SECONDS
        fresh = sorted((value, times) for when, value, times in self._window if when >= oldest)
        total = sum(times for _, times in fresh)
        for quantile in QUANTILES:
            yield _at(fresh, quantile * total)


class Instruments:
    """Makes instruments, and keeps them in the order in which a page shows them."""

    def __init__(self) -> None:
        self._all: list[Instrument] = []

    def families(self) -> list[Metric]:
        return [instrument.family() for instrument in self._all]

    def counter(
        self, name: str, text: str, labels: Sequence[str] = (), start: Sequence[Labels] = ()
    ) -> Counter:
        made = Counter(name, text, labels, start)
        self._all.append(made)
        return made

    def gauge(
        self, name: str, text: str, labels: Sequence[str] = (), start: Sequence[Labels] = ()
    ) -> Gauge:
        made = Gauge(name, text, labels, start)
        self._all.append(made)
        return made

    def histogram(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        labels: Sequence[str] = (),
        start: Sequence[Labels] = (),
    ) -> Histogram:
        made = Histogram(name, text, bounds, labels, start)
        self._all.append(made)
        return made

    def summary(self, name: str, text: str) -> Summary:
        made = Summary(name, text)
        self._all.append(made)
        return made


def _at(weighted: Sequence[tuple[float, int]], rank: float) -> float:
    """The first of ascending values with which the weights reach `rank`; NaN when there is none."""
    running = 0
    for value, times in weighted:
        running += times
        if running >= rank:
            return value
    return float("nan")


def _le(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]  # as the library writes its own
    return text
