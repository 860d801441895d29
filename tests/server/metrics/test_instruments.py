"""Histograms and summaries against plain counting; what a searched event costs."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milvine.server.metrics import instruments
from milvine.server.metrics.instruments import Counter, Histogram, Summary

VALUES = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=50)


@given(VALUES)
def test_a_histogram_counts_what_is_at_most_a_bound(values: list[tuple[float, int]]) -> None:
    histogram = Histogram("h", "", (1, 10, 50))
    for value, times in values:
        histogram.observe(value, times)
    flat = [value for value, times in values for _ in range(times)]
    found = {
        sample.labels.get("le", sample.name): sample.value for sample in histogram.family().samples
    }
    for le, bound in (("1.0", 1), ("10.0", 10), ("50.0", 50), ("+Inf", math.inf)):
        assert found[le] == sum(value <= bound for value in flat)
    assert found["h_count"] == len(flat)
    assert found["h_sum"] == pytest.approx(sum(flat))


@given(VALUES)
def test_quantiles_are_values_that_were_seen(values: list[tuple[float, int]]) -> None:
    summary = Summary("s", "")
    for value, times in values:
        summary.observe(value, times)
    flat = sorted(value for value, times in values for _ in range(times))
    found = {
        sample.labels.get("quantile", sample.name): sample.value
        for sample in summary.family().samples
    }
    assert found["s_count"] == len(flat)
    for quantile in (0.95, 0.9, 0.8):
        if flat:
            assert found[str(quantile)] == flat[max(math.ceil(quantile * len(flat) - 1e-9), 1) - 1]
        else:
            assert math.isnan(found[str(quantile)])


def test_the_window_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(instruments, "time", SimpleNamespace(monotonic=lambda: now[0]))
    summary = Summary("s", "")
    for _ in range(instruments.WINDOW_SIZE):
        summary.observe(1000.0)
    for _ in range(instruments.WINDOW_SIZE):
        summary.observe(1.0)
    quantiles = [s.value for s in summary.family().samples if "quantile" in s.labels]
    assert quantiles == [1.0, 1.0, 1.0]
    now[0] += instruments.WINDOW_SECONDS + 1
    assert all(math.isnan(s.value) for s in summary.family().samples if "quantile" in s.labels)
    assert [s.value for s in summary.family().samples if s.name == "s_count"] == [
        2 * instruments.WINDOW_SIZE
    ]


def test_a_counter_begins_at_zero() -> None:
    plain, labelled = Counter("a_total", ""), Counter("b_total", "", ("outcome",), (("fail",),))
    assert [(s.name, s.value) for s in plain.family().samples] == [("a_total", 0.0)]
    assert [(s.labels, s.value) for s in labelled.family().samples] == [({"outcome": "fail"}, 0.0)]
