"""`milvine token`, and a server process with tokens: what it says, and what it never says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from milvine.cli import app
from milvine.server.security import tokens
from milvine.wire.schema import Command, StringReply, method_path
from tests.serving import Served

VERSION = Command(cmd="version").SerializeToString()
Milvine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run() -> Milvine:
    def call(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["token", *arguments])
        return done.exit_code, done.stdout, done.stderr

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def test_create_list_revoke(run: Milvine, file: Path) -> None:
    there = ("--tokens", str(file))
    code, token, err = run(
        "create", "--name", "app1", "--role", "write", "--expires", "30d", *there
    )
    assert (code, err) == (0, "") and re.fullmatch(r"milvine_[0-9a-f]{8}_[\w-]{43}\n", token)
    assert run("create", "--name", "app2", "--role", "read", *there)[0] == 0
    code, out, _ = run("list", *there)
    lines = out.splitlines()
    assert code == 0 and [line.split()[:2] for line in lines] == [
        ["NAME", "ROLE"],
        ["app1", "write"],
        ["app2", "read"],
    ]
    assert "never" in lines[2] and token.strip()[17:] not in out
    assert run("revoke", "app1", *there) == (0, "app1 is revoked\n", "")
    assert run("revoke", "app1", *there) == (
        1,
        "",
        f"milvine: There is no token named app1 in {file}\n",
    )
    assert "app1" not in run("list", *there)[1]


def test_an_expired_token_is_shown_as_such(run: Milvine, file: Path) -> None:
    from datetime import datetime, timezone

    tokens.create(file, "app1", "read", datetime(2020, 1, 1, tzinfo=timezone.utc))
    assert "2020-01-01T00:00:00+00:00 (expired)" in run("list", "--tokens", str(file))[1]


def test_the_file_may_be_named_by_the_configuration(
    run: Milvine, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "server_config.yaml"
    config.write_text(f"network:\n  tokens_file: {file}\n")
    assert run("create", "--name", "a", "--role", "read", "--config", str(config))[0] == 0
    monkeypatch.setenv("MILVINE_NETWORK_TOKENS_FILE", str(file))
    assert run("create", "--name", "b", "--role", "read")[0] == 0
    assert [entry.name for entry in tokens.read_tokens(file)] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("list",), "Which file of tokens?"),
        (("list", "--tokens", "none.json"), "Cannot read the tokens"),
        (("create", "--name", "a", "--role", "read", "--expires", "0d"), "Invalid --expires 0d"),
        (
            ("create", "--name", "a", "--role", "read", "--expires", "tomorrow"),
            "Invalid --expires tomorrow",
        ),
        (("create", "--name", "a b", "--role", "read"), "is no name for a token"),
    ],
)
def test_errors_are_one_sentence(
    run: Milvine, file: Path, arguments: tuple[str, ...], text: str
) -> None:
    more = ("--tokens", str(file)) if arguments[0] == "create" else ()
    code, out, err = run(*arguments, *more)
    assert (
        (code, out) == (1, "")
        and err.startswith("milvine: ")
        and text in err
        and err.count("\n") == 1
    )
    assert not file.exists()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*options: str) -> Served:
        own = ("--port", 0, "--data", tmp_path / "data", *options)
        started.append(Served(*own, stderr=subprocess.PIPE, cwd=tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def _call(address: str, token: str) -> str:
    with grpc.insecure_channel(address) as channel:
        shown = (("authorization", f"Bearer {token}"),)
        try:
            reply = channel.unary_unary(method_path("Cmd"))(VERSION, metadata=shown, timeout=30)
        except grpc.RpcError as error:
            return str(error.code().name)
        return str(StringReply.FromString(reply).string_reply)


def test_a_server_with_tokens_logs_who_was_refused_and_no_token(
    serve: Callable[..., Served], file: Path, run: Milvine
) -> None:
    token = run("create", "--name", "app1", "--role", "read", "--tokens", str(file))[1].strip()
    server = serve(
        "--tokens",
        file.name,
        "--host",
        "0.0.0.0",
        "--log-level",
        "debug",
        "--set",
        "logs.format=json",
    )
    address = f"127.0.0.1:{server.wait().port}"
    assert _call(address, token) == "1.1.1"
    run("revoke", "app1", "--tokens", str(file))
    assert _call(address, token) == "UNAUTHENTICATED"
    server.process.terminate()
    _, out, err = server.end()
    told = [line for line in err.splitlines() if "access_refused" in line]
    assert (
        len(told) == 1
        and '"host": "127.0.0.1"' in told[0].replace('":"', '": "')
        and "unknown token" in told[0]
    )
    assert err.count("open_to_others") == 1 and "in the clear" in err
    assert token[17:] not in server.ready + out + err


def test_a_server_does_not_start_without_its_tokens(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    _, out, err = serve("--tokens", "none.json").end()
    said = [
        line for line in err.splitlines() if " WARNING milvine: This process may take" not in line
    ]
    assert out == "" and said == [
        f"milvine: Cannot read the tokens in {tmp_path}/none.json: No such file or directory"
    ]
    assert not (tmp_path / "data").exists()
