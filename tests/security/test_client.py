"""The client's side: TLS and tokens over gRPC and HTTP, and arguments that make no sense."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from milvine.client.address import parse_address, with_credentials
from milvine.client.credentials import credentials_of
from milvine.config import Settings
from milvine.server.app import Server
from milvine.server.security import tokens
from milvus import AsyncMilvus, Milvus, NotConnectError, ParamError
from tests.security.certificates import Authority, Pair

HANDLERS = ("GRPC", "HTTP")


@pytest.fixture(scope="module")
def client_pair(authority: Authority) -> Pair:
    return authority.issue("client", "somebody")


@pytest.fixture(scope="module")
def server(
    authority: Authority,
    tokens_file: Path,
    known: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Mutual TLS and tokens, for `db.example` and localhost."""
    pair = authority.issue("db", "db.example", "localhost")
    settings = Settings(
        port=0,
        background=False,
        search_threads=1,
        tls_certificate=pair.certificate,
        tls_key=pair.key,
        tls_client_ca=authority.file,
        tokens_file=str(tokens_file),
    )
    server = Server.start(tmp_path_factory.mktemp("server") / "data", settings)
    yield server
    server.stop(0)


@pytest.fixture
def arguments(server: Server, authority: Authority, client_pair: Pair) -> dict[str, Any]:
    return {
        "secure": True,
        "server_pem_path": authority.file,
        "client_pem_path": client_pair.certificate,
        "client_key_path": client_pair.key,
        "wait_timeout": 5,
        "max_retry": 1,
    }


def port_of(server: Server, handler: str) -> int:
    return server.port if handler == "GRPC" else int(server.http_address.rpartition(":")[2])


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_life_behind_tls_and_tokens(
    server: Server, arguments: dict[str, Any], known: dict[str, str], handler: str
) -> None:
    port = port_of(server, handler)
    made: dict[str, Milvus] = {
        role: Milvus("localhost", port, handler=handler, token=known[role], **arguments)
        for role in ("read", "write", "admin")
    }
    try:
        assert made["write"].create_collection({"collection_name": "c", "dimension": 2}).OK()
        assert made["write"].insert("c", [[0, 1], [1, 0]], [1, 2])[0].OK()
        status, hits = made["read"].search("c", 1, [[0, 1]], params={})
        assert status.OK() and hits[0][0].id == 1
        status, _ = made["read"].insert("c", [[0, 1]], [3])
        assert (
            not status.OK()
            and "needs a token of role write; this one has role read" in status.message
        )
        status = made["write"].drop_collection("c")
        assert not status.OK() and "role admin" in status.message
        assert made["admin"].drop_collection("c").OK()
    finally:
        for each in made.values():
            each.close()


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("kind", [None, "expired", "revoked"])
def test_who_has_no_token_is_told(
    server: Server, arguments: dict[str, Any], known: dict[str, str], handler: str, kind: str | None
) -> None:
    token = {"token": known[kind]} if kind else {}
    with pytest.raises(NotConnectError, match="token") as caught:
        Milvus("localhost", port_of(server, handler), handler=handler, **token, **arguments)
    assert kind is None or known[kind] not in str(caught.value)


@pytest.mark.parametrize("handler", HANDLERS)
def test_who_trusts_another_or_is_not_trusted_does_not_connect(
    server: Server,
    arguments: dict[str, Any],
    known: dict[str, str],
    stranger: Authority,
    handler: str,
) -> None:
    other = stranger.issue("client", "somebody")
    wrong: list[dict[str, Any]] = [
        {"server_pem_path": stranger.file},
        {"client_pem_path": None, "client_key_path": None},
        {"client_pem_path": other.certificate, "client_key_path": other.key},
        {"server_name": "another.example"},
    ]
    for each in wrong:
        with pytest.raises(NotConnectError):
            Milvus(
                "localhost",
                port_of(server, handler),
                handler=handler,
                token=known["read"],
                **arguments | each,
            )


def test_a_server_of_another_name(
    server: Server, arguments: dict[str, Any], known: dict[str, str]
) -> None:
    for handler in HANDLERS:
        more: dict[str, Any] = {**arguments, "token": known["read"], "handler": handler}
        with pytest.raises(NotConnectError):
            Milvus("127.0.0.1", port_of(server, handler), **more)
        client = Milvus("127.0.0.1", port_of(server, handler), server_name="db.example", **more)
        assert client.server_status()[0].OK()
        client.close()


def test_uris(server: Server, arguments: dict[str, Any], known: dict[str, str]) -> None:
    del arguments["secure"]
    for uri, handler in (
        (f"tcps://localhost:{server.port}", "GRPC"),
        (f"https://{_http(server)}", "HTTP"),
    ):
        client = Milvus(uri=uri, handler=handler, token=known["read"], **arguments)
        assert client.server_status()[0].OK()
        client.close()


def _http(server: Server) -> str:
    return f"localhost:{port_of(server, 'HTTP')}"


def test_an_idle_connection_that_the_server_ended_is_made_anew(authority: Authority) -> None:
    pair, ended = authority.issue("ends", "localhost"), threading.Semaphore(0)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)

    def serve() -> None:
        """Two answers, and the end of the connection after each."""
        for number in range(2):
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True) as connection:
                connection.recv(1 << 16)
                body = b'{"count":%d}' % number
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                connection.sendall(head + body)
                connection.settimeout(0.1)
                with suppress(OSError):  # the client does not say that it knows
                    connection.unwrap()
            ended.release()

    with socket.create_server(("localhost", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = Milvus(
            "localhost",
            listener.getsockname()[1],
            handler="HTTP",
            secure=True,
            server_pem_path=authority.file,
            try_connect=False,
            pre_ping=False,
        )
        for number in range(2):
            assert client.count_entities("a")[1] == number
            assert ended.acquire(timeout=60)
        client.close()
        thread.join(60)


def test_asyncio(server: Server, arguments: dict[str, Any], known: dict[str, str]) -> None:
    import asyncio

    async def ask() -> Any:
        async with AsyncMilvus(
            "localhost", server.port, token=known["read"], **arguments
        ) as client:
            return await client.server_status()

    assert asyncio.run(ask())[0].OK()


def test_revoking_acts_on_clients_that_are_connected(
    server: Server, arguments: dict[str, Any], tokens_file: Path
) -> None:
    token = tokens.create(tokens_file, "short", "read")
    client = Milvus("localhost", server.port, token=token, **arguments)
    tokens.revoke(tokens_file, "short")
    status, _ = client.server_status()
    assert not status.OK() and "The token is not valid" in status.message
    client.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"token": 5}, "token is illegal"),
        ({"token": ""}, "token is illegal"),
        ({"token": "a b"}, "token is illegal"),
        ({"token": "a\r\nHost: x"}, "token is illegal"),
        ({"secure": "yes"}, "secure is illegal"),
        ({"secure": False, "server_pem_path": "x"}, "secure is False"),
        ({"secure": False, "uri": "tcps://localhost:1"}, "secure is False"),
        ({"client_pem_path": "x"}, "go together"),
        ({"server_pem_path": b"x"}, "server_pem_path is illegal"),
        ({"server_pem_path": "/no/such.pem"}, "server_pem_path /no/such.pem cannot be read"),
        ({"server_pem_path": "/no/such.pem", "handler": "HTTP"}, "cannot be used for TLS"),
        ({"uri": "file:///tmp/x", "token": "x"}, "TLS and tokens are for servers"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamError, match=message):
        Milvus(**arguments)


def test_a_token_is_warned_of_where_it_travels_in_the_clear() -> None:
    shown = credentials_of({"token": "x"}, "db.example", None)
    with pytest.warns(UserWarning, match="in the clear"):
        with_credentials(parse_address("db.example"), shown)
    for host in ("localhost", "127.0.0.1", "::1"):
        with_credentials(parse_address(host), shown)
    secure = credentials_of({"token": "x", "secure": True}, "db.example", None)
    with_credentials(parse_address("db.example"), secure)


def test_no_token_is_shown_by_accident(caplog: pytest.LogCaptureFixture) -> None:
    shown = credentials_of({"token": "secret"}, "localhost", None)
    address = with_credentials(parse_address("localhost"), shown)
    assert "secret" not in f"{shown!r}{shown}{address!r}{address}"
    with caplog.at_level(logging.DEBUG), pytest.raises(NotConnectError) as caught:
        Milvus("localhost", 1, token="secret", wait_timeout=0.1, max_retry=1)
    assert "secret" not in caplog.text + str(caught.value) + repr(caught.value.__cause__)
