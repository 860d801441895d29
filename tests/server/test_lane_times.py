"""Which of the long calls at the port for lanes is carried out next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from milvine.server.lanes import times
from milvine.server.lanes.connection import Request
from milvine.server.lanes.times import LongCalls


def request(rpc: str, collection: bytes = b"one", more: bytes = b"") -> Request:
    nobody: Any = None
    return Request(nobody, 1, rpc, "", b"\x0a" + bytes((len(collection),)) + collection + more)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(times, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_the_shortest_is_taken_first(clock: list[float]) -> None:
    calls, (slow, quick, between) = (
        LongCalls(),
        (request("SearchByID"), request("GetVectorsByID"), request("Search")),
    )
    for one, seconds in ((slow, 3.0), (quick, 0.01), (between, 0.5)):
        calls.add([one], seconds)
    assert [list(calls.take()) for _ in range(4)] == [[quick], [between], [slow], []]


def test_searches_alike_are_taken_together_and_count_as_one_that_takes_longer(
    clock: list[float],
) -> None:
    calls, own = LongCalls(), [request("Search", more=bytes((n,))) for n in range(3)]
    other, got = request("Search", b"two"), request("GetVectorsByID")
    calls.add([own[0]], 0.2, alike=True)
    calls.add([got], 0.3)
    calls.add([other], 0.35, alike=True)
    calls.add(own[1:], 0.4, alike=True)
    assert len(calls) == 3
    assert [list(calls.take()) for _ in range(3)] == [[got], [other], own]


def test_who_has_waited_too_long_goes_before_shorter_ones(clock: list[float]) -> None:
    calls, slow, quick = LongCalls(), request("Search"), request("GetVectorsByID")
    calls.add([slow], 3.0)
    clock[0] += 0.9
    calls.add([quick], 0.01)
    assert list(calls.take()) == [quick]
    clock[0] += 0.2
    calls.add([quick], 0.01)
    assert list(calls.take()) == [slow]
