"""Tokens and the file that knows them: who has one gets in, with its role, until it expires or is
revoked.

A token is `milvine_`, the 8 hexadecimal digits of its id, `_`, and 256 random bits. The file holds
the SHA-256 of the whole. A slow hash such as scrypt protects what people choose, which can be
guessed; nobody guesses 256 random bits, and a fast one costs a request a microsecond.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from milvine.errors import OperatorError
from milvine.server.security.roles import GIVEN, Role
from milvine.storage.durable import write_file

PREFIX = "milvine_"
_VERSION = 1
_TOKEN = re.compile(r"milvine_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ROLES = {role.word: role for role in GIVEN}
_NOBODY = "0" * 64  # compared with where there is no such id, so that both take as long


class TokensUnusable(OperatorError):
    """The file of the tokens is missing, damaged, or others may write it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the file knows of a token. Times are UTC; `expires` is empty for never."""

    id: str
    name: str
    role: str
    sha256: str
    created: str
    expires: str = ""

    def ended(self) -> bool:
        return bool(self.expires) and datetime.fromisoformat(self.expires) <= _now()


@dataclass(frozen=True, slots=True)
class Found:
    """Who showed a token: its role and name; OPEN and `trouble` where it is worth nothing."""

    role: Role
    name: str = ""
    trouble: str = ""


NO_TOKEN = Found(Role.OPEN, trouble="no token")
UNKNOWN = Found(Role.OPEN, trouble="unknown token")


def create(file: Path, name: str, role: str, expires: datetime | None = None) -> str:
    """A new token, which is kept nowhere but in the answer. The file is made if need be.

    Raises:
        TokensUnusable: the name is taken or malformed, the role is none, or the file is damaged or
            cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise TokensUnusable(
            f"{name!r} is no name for a token. Expected up to 64 letters, digits, dots, _, @ or -"
        )
    if role not in _ROLES:
        raise TokensUnusable(f"{role!r} is no role. Expected one of {', '.join(_ROLES)}")
    with _changing(file) as entries:
        if any(entry.name == name for entry in entries):
            raise TokensUnusable(
                f"There is a token named {name} already. Revoke it first, or take another name"
            )
        taken = {entry.id for entry in entries}
        number = next(n for n in iter(lambda: secrets.token_hex(4), "") if n not in taken)
        token = f"{PREFIX}{number}_{secrets.token_urlsafe(32)}"
        until = expires.isoformat(timespec="seconds") if expires else ""
        entries.append(
            Entry(number, name, role, _hash(token), _now().isoformat(timespec="seconds"), until)
        )
    return token


def revoke(file: Path, name: str) -> None:
    """Forget a token, by its name.

    Raises:
        TokensUnusable: there is none of the name, or the file is missing, damaged or cannot be
            written.
    """
    read_tokens(file)
    with _changing(file) as entries:
        kept = [entry for entry in entries if entry.name != name]
        if len(kept) == len(entries):
            raise TokensUnusable(f"There is no token named {name} in {file}")
        entries[:] = kept


def read_tokens(file: Path) -> list[Entry]:
    """The entries of the file.

    Raises:
        TokensUnusable: it is missing or damaged.
    """
    try:
        return _parsed(json.loads(file.read_bytes()))
    except OSError as error:
        raise TokensUnusable(
            f"Cannot read the tokens in {file}: {error.strerror or error}"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TokensUnusable(
            f"{file} is no file of tokens: {type(error).__name__}. See milvine token --help"
        ) from None


def check_permissions(file: Path) -> None:
    """Refuse a file to which others than its owner can add tokens.

    Raises:
        TokensUnusable: its mode lets them, or it is missing.
    """
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise TokensUnusable(
            f"Cannot read the tokens in {file}: {error.strerror or error}"
        ) from None
    if os.name != "nt" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise TokensUnusable(
            f"Others may write {file}, mode {stat.S_IMODE(mode):04o}. Run: chmod 600 {file}"
        )


class Tokens:
    """The tokens of a file, read again whenever it has changed. A file that cannot be read lets
    nobody in.
    """

    def __init__(self, file: Path) -> None:
        """Raises TokensUnusable: the file is missing, damaged, or others may write it."""
        self._file = file
        check_permissions(file)
        self._seen = self._signature()
        self._entries = _by_id(read_tokens(file))
        self._lock = threading.Lock()
        self.trouble = ""  # why nobody is let in

    def find(self, token: str) -> Found:
        """Who this is. Takes as long for a wrong secret as for the right one."""
        self._refresh()
        match = _TOKEN.fullmatch(token)
        entry = self._entries.get(match[1]) if match else None
        same = hmac.compare_digest(_hash(token), entry.sha256 if entry else _NOBODY)
        if entry is None or not same:
            return UNKNOWN
        if entry.ended():
            return Found(Role.OPEN, entry.name, "token expired")
        return Found(_ROLES[entry.role], entry.name)

    def _refresh(self) -> None:
        if self._signature() == self._seen:
            return
        with self._lock:
            seen = self._signature()  # before reading: a change in between is seen the next time
            try:
                check_permissions(self._file)
                self._entries, self.trouble = _by_id(read_tokens(self._file)), ""
            except TokensUnusable as error:
                self._entries, self.trouble = {}, str(error)
            self._seen = seen

    def _signature(self) -> tuple[int, ...]:
        try:
            found = os.stat(self._file)
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode


@contextmanager
def _changing(file: Path) -> Iterator[list[Entry]]:
    """The entries, written back when the block ends without an error; other processes wait."""
    try:
        with _alone(file.parent):
            entries = read_tokens(file) if file.exists() else []
            yield entries
            _write(file, entries)
    except OSError as error:
        raise TokensUnusable(f"Cannot write {file}: {error.strerror or error}") from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    if os.name == "nt":
        yield
        return
    import fcntl

    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(file: Path, entries: Sequence[Entry]) -> None:
    document = {"milvine_tokens": _VERSION, "tokens": [asdict(entry) for entry in entries]}
    write_file(file, (json.dumps(document, indent=1) + "\n").encode(), 0o600, _owner(file))


def _owner(file: Path) -> tuple[int, int] | None:
    """Whose the file is to be when root writes it: whose it was, or whose its folder is. The server
    has to read it.
    """
    if os.name == "nt" or os.geteuid() != 0:
        return None
    found = os.stat(file if file.exists() else file.parent)
    return found.st_uid, found.st_gid


def _parsed(document: Any) -> list[Entry]:
    if document["milvine_tokens"] != _VERSION:
        raise ValueError("version")
    entries = [Entry(**fields) for fields in document["tokens"]]
    for entry in entries:
        if (
            entry.role not in _ROLES
            or type(entry.id) is not str
            or not _SHA256.fullmatch(entry.sha256)
            or not _NAME.fullmatch(entry.name)
        ):
            raise ValueError("entry")
        if entry.expires and datetime.fromisoformat(entry.expires).tzinfo is None:
            raise ValueError("expires")
    if len({entry.name for entry in entries}) != len(entries) or len(_by_id(entries)) != len(
        entries
    ):
        raise ValueError("names")
    return entries


def _by_id(entries: Sequence[Entry]) -> dict[str, Entry]:
    return {entry.id: entry for entry in entries}


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="backslashreplace")).hexdigest()


def _now() -> datetime:
    return datetime.now(timezone.utc)
