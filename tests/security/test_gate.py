"""The gate without a door: rates, peers, what is told of refusals."""

from __future__ import annotations

from itertools import takewhile

import pytest

from milvine.config import Settings
from milvine.events import Event, Events
from milvine.events.server import AccessRefused, OpenToOthers
from milvine.server.operations import GrpcStatus, Refused
from milvine.server.security.gate import Gate, bearer_of, open_gate
from milvine.server.security.opening import is_loopback, tell_if_open
from milvine.server.security.peers import Rates, host_of, network_of
from milvine.server.security.roles import RPCS, Role, role_of
from milvine.wire.schema import RPCS as ALL_RPCS
from milvine.wire.schema import Command


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_fill_up_with_time_and_are_everybodys_own() -> None:
    clock = Clock()
    rates = Rates(2, 3, clock)
    assert [rates.take("1.1.1.1") for _ in range(4)] == [True, True, True, False]
    assert rates.take("2.2.2.2")
    clock.now += 1
    assert [rates.take("1.1.1.1") for _ in range(3)] == [True, True, False]
    clock.now += 1000
    assert [rates.take("1.1.1.1") for _ in range(4)] == [True, True, True, False]


def test_many_addresses_take_no_memory() -> None:
    rates = Rates(1, 1, Clock())
    addresses = [f"10.0.{n >> 8}.{n & 255}" for n in range(10_000)]
    assert all(rates.take(each) for each in addresses)
    remembered = takewhile(lambda each: not rates.take(each), reversed(addresses))
    assert sum(1 for _ in remembered) == 4096


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:4711", "127.0.0.1"),
        ("ipv6:%5B::1%5D:4711", "::1"),
        ("ipv6:[2001:db8::1]:4711", "2001:db8::1"),
        ("1.2.3.4:5", "1.2.3.4"),
        ("[::1]:5", "::1"),
        ("::1", "::1"),
        ("unix:", "unix:"),
        ("", ""),
    ],
)
def test_hosts_of_peers(peer: str, host: str) -> None:
    assert host_of(peer) == host


def test_a_network_of_ipv6_is_one_caller() -> None:
    assert (
        network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    )
    assert network_of("::ffff:1.2.3.4") == network_of("1.2.3.4") == "1.2.3.4"
    assert network_of("somebody") == "somebody"


def test_one_header_counts_and_two_do_not() -> None:
    assert bearer_of([("a", "b"), ("authorization", "Bearer x")]) == "Bearer x"
    assert bearer_of([("authorization", "Bearer x"), ("authorization", "Bearer y")]) == ""
    assert bearer_of([("authorization", b"Bearer x")]) == ""
    assert bearer_of([]) == ""


def test_every_rpc_has_a_role() -> None:
    assert set(ALL_RPCS) <= set(RPCS)
    assert role_of("Nonsense", b"") is Role.ADMIN
    for text, role in {
        "version": Role.READ,
        "requests": Role.READ,
        "get_config cache.cache_size": Role.ADMIN,
        "set_config cache.cache_size 1": Role.ADMIN,
        "set_configuration": Role.ADMIN,
    }.items():
        assert role_of("Cmd", Command(cmd=text).SerializeToString()) is role
    assert role_of("Cmd", b"\xff") is Role.READ


def test_without_settings_there_is_no_gate() -> None:
    assert open_gate(Settings(), Events()) is None


def test_requests_are_counted_for_each_address_and_probes_are_not() -> None:
    told: list[Event] = []
    gate = Gate(None, 5, Events(told.append))
    for _ in range(5):
        assert gate.admit_call("Search", (), "ipv4:1.1.1.1:1").role is Role.ADMIN
    with pytest.raises(Refused) as error:
        gate.admit_call("Search", (), "ipv4:1.1.1.1:2")
    assert error.value.status is GrpcStatus.RESOURCE_EXHAUSTED and "5 in a second" in str(
        error.value
    )
    gate.admit_call("Search", (), "ipv4:1.1.1.2:1")
    for _ in range(20):
        gate.admit("probe", Role.OPEN, "", "1.1.1.1")
    assert told == [AccessRefused("Search", "1.1.1.1", "", "too many requests")]


def test_few_of_many_refusals_are_told_and_none_is_forgotten() -> None:
    told: list[Event] = []
    events = Events(told.append)
    gate = Gate(None, 1, events)
    gate.admit_call("Insert", (), "1.1.1.1:1")
    for _ in range(50):
        with pytest.raises(Refused):
            gate.admit_call("Insert", (), "1.1.1.1:1")
    assert len(told) == 5
    gate.admit_call("Insert", (), "2.2.2.2:1")
    with pytest.raises(Refused):
        gate.admit_call("Insert", (), "2.2.2.2:1")
    assert isinstance(told[5], AccessRefused) and told[5].left_out == 45


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    ("settings", "count", "text"),
    [
        (Settings(), 0, ""),
        (
            Settings(address="0.0.0.0"),
            1,
            "whoever reaches this address may read, change and drop everything",
        ),
        (Settings(address="0.0.0.0", tls_certificate="c", tls_key="k"), 1, "whoever reaches"),
        (Settings(address="0.0.0.0", tokens_file="t"), 1, "in the clear"),
        (Settings(address="0.0.0.0", tokens_file="t", tls_certificate="c", tls_key="k"), 0, ""),
        (Settings(address="0.0.0.0", tls_client_ca="a", tls_certificate="c", tls_key="k"), 0, ""),
    ],
)
def test_it_is_told_once_for_an_address_what_strangers_may_do(
    settings: Settings, count: int, text: str
) -> None:
    told: list[Event] = []
    tell_if_open(settings, Events(told.append), settings.address, settings.http_address)
    assert len(told) == count
    assert all(isinstance(event, OpenToOthers) and text in event.reason for event in told)
