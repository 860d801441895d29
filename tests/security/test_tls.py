"""TLS and mutual TLS with real clients: who gets in, who does not, and certificates that are
replaced.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from milvine.config import Settings
from milvine.events import Event, Events
from milvine.events.server import CertificateRefused, CertificateRenewed, OpenToOthers, Serving
from milvine.server import app
from milvine.server.app import Server
from milvine.server.doors.door import DoorFailed
from milvine.server.doors.door_probe import DoorProbe
from milvine.server.security.certificates import TlsUnusable, open_certificates
from milvine.wire.schema import Command, StringReply, method_path
from tests.security.certificates import Authority, Pair

VERSION = Command(cmd="version").SerializeToString()
Start = Callable[..., Server]


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def start(tmp_path: Path, told: list[Event]) -> Iterator[Start]:
    started: list[Server] = []

    def serve(**settings: Any) -> Server:
        merged = {"port": 0, "background": False, "search_threads": 1, **settings}
        started.append(Server.start(tmp_path / "data", Settings(**merged), Events(told.append)))
        return started[-1]

    yield serve
    for server in started:
        server.stop(0)


def tls(pair: Pair, client_ca: str = "") -> dict[str, str]:
    return {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": client_ca}


def ask_grpc(server: Server, ca: str, pair: Pair | None = None) -> str:
    """The version that a server tells over TLS, or the code of the failure."""
    own = (
        (Path(pair.key).read_bytes(), Path(pair.certificate).read_bytes()) if pair else (None, None)
    )
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes(), *own)
    with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
        try:
            reply = channel.unary_unary(method_path("Cmd"))(VERSION, timeout=30)
        except grpc.RpcError as error:
            return str(error.code().name)
        return str(StringReply.FromString(reply).string_reply)


def ask_http(server: Server, ca: str, pair: Pair | None = None) -> int:
    """Status of an answer over TLS; 0 for none."""
    context = ssl.create_default_context(cafile=ca)
    if pair:
        context.load_cert_chain(pair.certificate, pair.key)
    port = server.http_address.rpartition(":")[2]
    try:
        with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
            return client.get(f"https://localhost:{port}/state").status_code
    except httpx.TransportError:
        return 0


def test_tls_for_both(start: Start, authority: Authority, stranger: Authority) -> None:
    server = start(**tls(authority.issue("server")))
    assert ask_grpc(server, authority.file) == "1.1.1"
    assert ask_grpc(server, stranger.file) == "UNAVAILABLE"
    assert ask_http(server, authority.file) == 200
    assert ask_http(server, stranger.file) == 0
    with grpc.insecure_channel(f"localhost:{server.port}") as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(method_path("Cmd"))(VERSION, timeout=30)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{server.http_address}/state", trust_env=False)


def test_the_name_in_the_certificate_counts(start: Start, authority: Authority) -> None:
    server = start(**tls(authority.issue("other", "other.example")))
    assert (ask_grpc(server, authority.file), ask_http(server, authority.file)) == (
        "UNAVAILABLE",
        0,
    )


def test_mutual_tls_for_both(start: Start, authority: Authority, stranger: Authority) -> None:
    server = start(**tls(authority.issue("server"), authority.file))
    known, unknown = authority.issue("client", "somebody"), stranger.issue("client", "somebody")
    old = authority.issue("old", "somebody", not_after=datetime.datetime(2020, 1, 1))
    assert (ask_grpc(server, authority.file, known), ask_http(server, authority.file, known)) == (
        "1.1.1",
        200,
    )
    for pair in (None, unknown, old):
        assert (ask_grpc(server, authority.file, pair), ask_http(server, authority.file, pair)) == (
            "UNAVAILABLE",
            0,
        )


def test_old_versions_of_tls_are_refused(start: Start, authority: Authority) -> None:
    server = start(**tls(authority.issue("server")))
    context = ssl.create_default_context(cafile=authority.file)
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    port = server.http_address.rpartition(":")[2]
    with (
        httpx.Client(verify=context, trust_env=False) as client,
        pytest.raises(httpx.TransportError),
    ):
        client.get(f"https://localhost:{port}/state")


@pytest.mark.parametrize("mutual", [False, True])
def test_a_new_certificate_is_taken_without_a_restart(
    start: Start, tmp_path: Path, told: list[Event], mutual: bool
) -> None:
    folder = tmp_path / "pems"
    folder.mkdir()
    first, second = Authority(folder, "first"), Authority(folder, "second")
    pair, client = first.issue("server"), first.issue("client", "somebody") if mutual else None
    server = start(**tls(pair, first.file if mutual else ""))
    assert (ask_grpc(server, first.file, client), ask_http(server, first.file, client)) == (
        "1.1.1",
        200,
    )

    Path(pair.key).write_bytes(b"half of a new")
    assert (ask_grpc(server, first.file, client), ask_http(server, first.file, client)) == (
        "1.1.1",
        200,
    )
    assert [type(event) for event in told].count(CertificateRefused) == 1

    second.issue("server")
    assert (ask_grpc(server, second.file, client), ask_http(server, second.file, client)) == (
        "1.1.1",
        200,
    )
    assert ask_http(server, first.file, client) == 0
    if mutual:
        assert (ask_grpc(server, second.file), ask_http(server, second.file)) == ("UNAVAILABLE", 0)
    assert [type(event) for event in told].count(CertificateRenewed) == 1


def _broken(authority: Authority, tmp_path: Path) -> dict[str, tuple[dict[str, str], str]]:
    good, other = authority.issue("good"), authority.issue("another")
    past, future = datetime.datetime(2020, 1, 1), datetime.datetime(2100, 1, 1)
    old = authority.issue("old", not_after=past)
    early = authority.issue("early", not_before=future, not_after=future + datetime.timedelta(1))
    none = str(tmp_path / "none.pem")
    return {
        "missing": (tls(Pair(none, good.key)), f"Cannot read {none}"),
        "no key": ({"tls_certificate": good.certificate}, "TLS needs both"),
        "ca alone": ({"tls_client_ca": authority.file}, "TLS needs both"),
        "mismatch": (tls(Pair(good.certificate, other.key)), "mismatch"),
        "swapped": (
            tls(Pair(good.key, good.certificate)),
            "not in PEM form, or in the wrong order",
        ),
        "expired": (tls(old), "has expired"),
        "early": (tls(early), "not yet valid"),
        "no ca": (tls(good, good.key), "holds no certificate"),
        "no pem": (tls(Pair(__file__, good.key)), "holds nothing in PEM form"),
    }


def test_files_that_cannot_be_used_stop_the_start(authority: Authority, tmp_path: Path) -> None:
    for name, (settings, text) in _broken(authority, tmp_path).items():
        with pytest.raises(TlsUnusable, match=text) as error:
            open_certificates(Settings(**settings), Events())  # type: ignore[arg-type]
        assert "\n" not in str(error.value), name
    with pytest.raises(TlsUnusable):
        Server.start(tmp_path / "data", Settings(port=0, tls_certificate="x", background=False))
    assert not (tmp_path / "data").exists()


def test_the_native_door_has_no_tls(start: Start, authority: Authority, told: list[Event]) -> None:
    pytest.importorskip("pygrpc_native")
    with pytest.raises(DoorFailed, match="has no TLS"):
        start(door="native", **tls(authority.issue("server")))
    start(**tls(authority.issue("server")))
    assert [event.door for event in told if isinstance(event, Serving)] == ["grpc", "http"]


def test_a_server_that_others_reach_says_so(start: Start, told: list[Event]) -> None:
    start(address="0.0.0.0", http_enable=False)
    assert [event.address for event in told if isinstance(event, OpenToOthers)] == ["0.0.0.0"]


def test_probes_ask_through_the_port_with_tls_and_no_other_call_passes_there(
    start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, places = authority.issue("server"), list[str]()

    def asking(place: str) -> DoorProbe:
        places.append(place)
        return DoorProbe(place)

    monkeypatch.setattr(app, "DoorProbe", asking)
    server = start(**tls(pair, authority.file))
    (place,) = places
    port = server.http_address.rpartition(":")[2]
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(pair.certificate, pair.key)
    with httpx.Client(
        verify=context, trust_env=False, timeout=30, base_url=f"https://localhost:{port}"
    ) as client:
        assert [client.get(path).status_code for path in ("/readyz", "/healthz")] == [200, 200]
    with grpc.insecure_channel(place) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method_path("Cmd"))(VERSION, timeout=30)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    folder = Path(place.removeprefix("unix:")).parent
    assert folder.stat().st_mode & 0o077 == 0
    server.stop(0)
    assert not folder.exists()
