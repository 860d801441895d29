"""Which of the long calls at the port for lanes is carried out next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from milvine.lanes import durations
from milvine.lanes.durations import LONG_SECONDS, Call, Durations, LongCalls
from milvine.lanes.server_protocol import Request


def request(rpc: str, collection: bytes = b"one", more: bytes = b"") -> Call:
    nobody: Any = None
    message = b"\x0a" + bytes((len(collection),)) + collection + more
    return Call(nobody, Request(rpc, "", message))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(durations, "time", SimpleNamespace(monotonic=lambda: now[0]))
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
    calls.add([own[0]], 0.2, own[0].request.kind)
    calls.add([got], 0.3)
    calls.add([other], 0.35, other.request.kind)
    calls.add(own[1:], 0.4, own[0].request.kind)
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


def test_what_is_likely_follows_what_was_seen() -> None:
    durations, search = Durations(), request("Search")
    assert durations.likely([search]) > LONG_SECONDS  # nothing is known
    durations.note(search.request, 0.001)
    assert durations.likely([search, search]) == pytest.approx(0.002)
    for _ in range(50):
        durations.note(search.request, 0.5)
    assert durations.likely([search]) == pytest.approx(0.5, rel=0.01)
    assert durations.likely([request("Search", b"two")]) > LONG_SECONDS and durations.kinds == 1
