"""The table of an index: which value it picks, and what it makes of a file's text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from milvine.index.recall.table import Curve, RecallTable, Tuning, from_json
from milvine.index.spec import Breadth
from milvine.types import RecallPoint

BREADTH = Breadth("nprobe", 1, 1000)
EF = Breadth("ef", 1, 1000, per_hit=1, beside={"refine": 2})


def curve(k: int, *recalls: float, first: int = 1, error: float = 0.0) -> Curve:
    return Curve(
        k, tuple(RecallPoint(first << at, each, error, 1e-5) for at, each in enumerate(recalls))
    )


def table(*curves: Curve, breadth: Breadth = BREADTH) -> RecallTable:
    return RecallTable(breadth.key, breadth.beside, 10_000, 300, curves)


TEN = curve(10, 0.5, 0.7, 0.9, 0.98)
HUNDRED = curve(100, 0.4, 0.6, 0.8, 0.94)


@pytest.mark.parametrize(
    ("recall", "picked"),
    [(0.1, 1), (0.5, 1), (0.7, 2), (0.8, 3), (0.9, 4), (0.95, 7), (0.98, 8), (0.981, None)],
)
def test_a_value_between_those_tried_lies_on_a_line(recall: float, picked: int | None) -> None:
    found = table(TEN).params(recall, 10, 10_000, BREADTH)
    assert found == (None if picked is None else {"nprobe": picked})


def test_what_is_relied_on_lies_below_the_mean() -> None:
    unsure = table(curve(10, 0.5, 0.7, 0.9, 0.98, error=0.02))
    assert unsure.params(0.9, 10, 10_000, BREADTH) == {"nprobe": 6}
    assert unsure.params(0.97, 10, 10_000, BREADTH) is None


def test_no_line_leads_to_a_value_that_may_have_compared_all_rows() -> None:
    assert table(curve(10, 0.5, 1.0)).params(0.6, 10, 10_000, BREADTH) == {"nprobe": 2}


def test_more_hits_take_more() -> None:
    both = table(TEN, HUNDRED)
    values = []
    for k in (1, 10, 11, 50, 100, 101, 300, 1000):
        found = both.params(0.8, k, 10_000, BREADTH)
        assert found is not None
        values.append(found["nprobe"])
    assert values == sorted(values)
    assert values[:2] == [3, 3] and values[4] == 4 and values[-1] > 8
    assert both.params(0.95, 50, 10_000, BREADTH) is None  # not known to be found at 100


def test_deleted_rows_count_as_more_hits() -> None:
    both = table(TEN, HUNDRED)
    assert both.params(0.9, 10, 1000, BREADTH) == both.params(0.9, 100, 10_000, BREADTH)
    assert both.params(0.9, 10, 0, BREADTH) is None
    # A few that came since do no harm.
    assert both.params(0.9, 10, 20_000, BREADTH) == both.params(0.9, 10, 10_000, BREADTH)


def test_a_value_is_enough_for_the_hits_and_within_the_range() -> None:
    graph = table(curve(10, 0.9, 0.99, first=10), curve(100, 0.95, first=100), breadth=EF)
    assert graph.params(0.9, 60, 10_000, EF) == {"refine": 2, "ef": 81}
    assert graph.params(0.9, 900, 10_000, EF) == {"refine": 2, "ef": 900}
    assert graph.params(0.9, 2000, 10_000, EF) == {"refine": 2, "ef": 1000}  # takes 2000 by itself
    assert graph.params(0.9, 900, 5000, EF) is None  # would need 1800
    assert table(TEN).params(1.0, 10, 10_000, BREADTH) is None


def test_the_text_of_a_table() -> None:
    whole = table(TEN, HUNDRED, breadth=EF)
    assert from_json(json.loads(json.dumps(whole.as_json())), EF) == whole


def broken(**changes: Any) -> dict[str, Any]:
    return {**table(TEN, HUNDRED, breadth=EF).as_json(), **changes}


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [],
        {},
        broken(key="nprobe"),
        broken(beside={}),
        broken(beside={"refine": "2"}),
        broken(beside={"refine": 2, "more": 1}),
        broken(rows=0),
        broken(rows=True),
        broken(samples=-1),
        broken(curves={}),
        broken(curves=[]),
        broken(curves=[[10, []]]),
        broken(curves=[[10]]),
        broken(curves=[["10", [[1, 0.5, 0.0, 0.0]]]]),
        broken(curves=[[10, [[1, 1.5, 0.0, 0.0]]]]),
        broken(curves=[[10, [[1, float("nan"), 0.0, 0.0]]]]),
        broken(curves=[[10, [[1, 0.5, -1.0, 0.0]]]]),
        broken(curves=[[10, [[1, 0.5, 0.0]]]]),
        broken(curves=[[10, [[2, 0.5, 0.0, 0.0], [1, 0.6, 0.0, 0.0]]]]),
        broken(curves=[[10, [[1, 0.5, 0.0, 0.0]]], [10, [[1, 0.5, 0.0, 0.0]]]]),
    ],
)
def test_what_is_no_table_is_none(value: object) -> None:
    assert from_json(value, EF) is None
    tuning = Tuning(value, EF, 10_000)
    assert tuning.params(0.5, 10) is None and tuning.curve(10) == ()


def test_choices_are_kept_but_not_for_ever() -> None:
    tuning = Tuning(table(TEN).as_json(), BREADTH, 10_000)
    first = tuning.params(0.9, 10)
    assert first is not None and tuning.params(0.9, 10) is first
    for k in range(1, 200):
        tuning.params(0.5, k)
    assert tuning.params(0.9, 10) == first
    assert tuning.curve(7) == TEN.points and tuning.curve(5000) == TEN.points
