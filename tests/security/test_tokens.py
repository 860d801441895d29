"""The file of the tokens: what it holds and what it does not, who may write it, and that a change
acts at once.
"""

from __future__ import annotations

import hmac
import json
import os
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from milvine.server.security import tokens
from milvine.server.security.roles import Role
from milvine.server.security.tokens import Tokens, TokensUnusable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def test_a_token_is_told_once_and_kept_as_a_hash(file: Path) -> None:
    token = tokens.create(file, "app1", "write")
    text = file.read_text()
    secret = token.split("_", 2)[2]  # which may have underscores of its own
    assert (
        len(secret) > 20
        and secret not in text
        and secret[:20] not in text
        and secret[-20:] not in text
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert [(e.name, e.role, e.expires) for e in tokens.read_tokens(file)] == [
        ("app1", "write", "")
    ]
    found = Tokens(file).find(token)
    assert (found.role, found.name, found.trouble) == (Role.WRITE, "app1", "")


def test_tokens_differ_and_are_long(file: Path) -> None:
    made = {tokens.create(file, f"app{n}", "read") for n in range(20)}
    assert len(made) == 20 and {len(token) for token in made} == {60}


def test_no_wrong_token_is_let_in(file: Path) -> None:
    token = tokens.create(file, "app1", "admin")
    known = Tokens(file)
    other = "B" if token[-5] == "A" else "A"
    wrong = [
        "", " ", "milvine_", token[:-1], token + "A", token[:-5] + other + token[-4:],
        token.upper(), f" {token}",
        f"{token}\n", token.replace("milvine", "milvinf"), f"milvine_00000000_{token[17:]}",
        "é" * 60, "\udc80" * 60,
        tokens.read_tokens(file)[0].sha256,
    ]  # fmt: skip
    for each in wrong:
        assert known.find(each) == tokens.UNKNOWN, each


def test_a_token_ends(file: Path) -> None:
    now = datetime.now(timezone.utc)
    ended = tokens.create(file, "ended", "read", now)
    token = tokens.create(file, "lasting", "read", now + timedelta(days=1))
    known = Tokens(file)
    assert known.find(token).role is Role.READ
    found = known.find(ended)
    assert (found.role, found.name, found.trouble) == (Role.OPEN, "ended", "token expired")


def test_revoking_and_creating_act_at_once(file: Path) -> None:
    token = tokens.create(file, "app1", "read")
    known = Tokens(file)
    assert known.find(token).role is Role.READ
    tokens.revoke(file, "app1")
    assert known.find(token) == tokens.UNKNOWN
    again = tokens.create(file, "app1", "write")
    assert known.find(again).role is Role.WRITE and known.find(token) == tokens.UNKNOWN


def test_a_file_that_is_gone_damaged_or_writable_lets_nobody_in(file: Path) -> None:
    token = tokens.create(file, "app1", "admin")
    whole = file.read_bytes()
    known = Tokens(file)
    file.unlink()
    assert known.find(token) == tokens.UNKNOWN and "Cannot read the tokens" in known.trouble
    file.write_bytes(whole[:-20])
    assert known.find(token) == tokens.UNKNOWN and "is no file of tokens" in known.trouble
    file.write_bytes(whole)
    file.chmod(0o600)
    assert known.find(token).role is Role.ADMIN and known.trouble == ""
    file.chmod(0o620)
    assert known.find(token) == tokens.UNKNOWN and "chmod 600" in known.trouble


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "\x00", '{"milvine_tokens": 2, "tokens": []}', '{"milvine_tokens": 1}',
     '{"milvine_tokens": 1, "tokens": [{}]}', '{"milvine_tokens": 1, "tokens": [1]}'],
)  # fmt: skip
def test_what_is_no_file_of_tokens_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(TokensUnusable, match="is no file of tokens"):
        Tokens(file)
    with pytest.raises(TokensUnusable):
        tokens.create(file, "app1", "read")
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("role", "root"),
        ("sha256", "x"),
        ("name", "a b"),
        ("expires", "tomorrow"),
        ("expires", "2030-01-01T00:00:00"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(file: Path, key: str, value: str) -> None:
    tokens.create(file, "app1", "read")
    document = json.loads(file.read_text())
    document["tokens"][0][key] = value
    file.write_text(json.dumps(document))
    with pytest.raises(TokensUnusable, match="is no file of tokens"):
        tokens.read_tokens(file)


def test_a_missing_file_is_refused_at_the_start(file: Path) -> None:
    with pytest.raises(TokensUnusable, match="Cannot read the tokens"):
        Tokens(file)
    with pytest.raises(TokensUnusable, match="Cannot read the tokens"):
        tokens.revoke(file, "app1")
    with pytest.raises(TokensUnusable, match="Cannot write"):
        tokens.create(file.parent / "none" / "t", "app1", "read")


@pytest.mark.parametrize(
    ("name", "role"),
    [("", "read"), ("a b", "read"), ("x" * 65, "read"), ("a\n", "read"), ("a", "root")],
)
def test_names_and_roles_are_checked(file: Path, name: str, role: str) -> None:
    with pytest.raises(TokensUnusable):
        tokens.create(file, name, role)


def test_secrets_are_compared_in_constant_time_also_where_there_is_no_such_token(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens.create(file, "app1", "read")
    known, compared = Tokens(file), []
    compare = hmac.compare_digest

    def watched(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(tokens.hmac, "compare_digest", watched)
    for each in (token, f"milvine_00000000_{token[17:]}", "nonsense"):
        known.find(each)
    assert compared == [(64, 64)] * 3


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0, reason="for root, who may give files away"
)
def test_what_root_writes_is_readable_for_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 19530, 19530)
    file = folder / "tokens.json"
    for n in range(2):
        tokens.create(file, f"app{n}", "read")
        assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (
            19530,
            19530,
            0o600,
        )


def test_two_who_write_at_once_lose_nothing(file: Path) -> None:
    threads = [
        threading.Thread(target=tokens.create, args=(file, f"app{n}", "read")) for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.name for entry in tokens.read_tokens(file)} == {f"app{n}" for n in range(12)}
    assert os.listdir(file.parent) == [file.name]
