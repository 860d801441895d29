"""`milvine token`, and a server process with tokens: what it says, and what it never says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

import milvine
from milvine.cli import app
from milvine.server.security import tokens
from milvine.wire.schema import Command, StringReply, method_path

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
def serve(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path(milvine.__file__).parents[1])}
        command = [
            sys.executable,
            "-m",
            "milvine",
            "serve",
            "--port",
            "0",
            "--data",
            str(tmp_path / "data"),
            *arguments,
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _call(port: str, token: str) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        shown = (("authorization", f"Bearer {token}"),)
        try:
            reply = channel.unary_unary(method_path("Cmd"))(VERSION, metadata=shown, timeout=30)
        except grpc.RpcError as error:
            return str(error.code().name)
        return str(StringReply.FromString(reply).string_reply)


def test_a_server_with_tokens_logs_who_was_refused_and_no_token(
    serve: Callable[..., subprocess.Popen[str]], file: Path, run: Milvine
) -> None:
    token = run("create", "--name", "app1", "--role", "read", "--tokens", str(file))[1].strip()
    process = serve(
        "--tokens",
        file.name,
        "--host",
        "0.0.0.0",
        "--log-level",
        "debug",
        "--set",
        "logs.format=json",
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    port = re.search(r"grpc \S+:(\d+)", ready)
    assert port
    assert _call(port[1], token) == "1.1.1"
    run("revoke", "app1", "--tokens", str(file))
    assert _call(port[1], token) == "UNAUTHENTICATED"
    process.terminate()
    out, err = process.communicate(timeout=60)
    told = [line for line in err.splitlines() if "access_refused" in line]
    assert (
        len(told) == 1
        and '"host": "127.0.0.1"' in told[0].replace('":"', '": "')
        and "unknown token" in told[0]
    )
    assert err.count("open_to_others") == 1 and "in the clear" in err
    assert token[17:] not in ready + out + err


def test_a_server_does_not_start_without_its_tokens(
    serve: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    out, err = serve("--tokens", "none.json").communicate(timeout=60)
    said = [
        line for line in err.splitlines() if " WARNING milvine: This process may take" not in line
    ]
    assert out == "" and said == [
        f"milvine: Cannot read the tokens in {tmp_path}/none.json: No such file or directory"
    ]
    assert not (tmp_path / "data").exists()
