"""The attacks of `milvine.testing.intruders`, few of each; `make intruders` makes thousands."""

from __future__ import annotations

import pytest

from milvine.server.doors import http_heads
from milvine.testing import intruders


@pytest.mark.parametrize("door", ["grpc", "native"])
def test_nobody_gets_in(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if door == "native":
        pytest.importorskip("pygrpc_native")
    monkeypatch.setattr(http_heads, "HEAD_SECONDS", 1.0)
    outcomes = intruders.run(door, 60, 1, intruders.ATTACKS)
    assert {outcome.attack: outcome.got for outcome in outcomes} == dict.fromkeys(
        intruders.ATTACKS, 0
    )
    assert all(outcome.tried == 60 for outcome in outcomes)


def test_an_open_door_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milvine.server.security.opening.open_gate", lambda settings, events: None)
    names = (
        "calls without a token",
        "calls without a token by lanes",
        "odd paths and methods over HTTP",
    )
    some = {name: intruders.ATTACKS[name] for name in names}
    assert all(outcome.got for outcome in intruders.run("grpc", 40, 1, some))
