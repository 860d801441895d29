"""What the tests of security share: an authority with certificates, and a file of tokens of every
kind.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from milvine.server.security import tokens
from tests.security.certificates import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, which nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def tokens_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens") / "tokens.json"


@pytest.fixture(scope="module")
def known(tokens_file: Path) -> dict[str, str]:
    """Tokens by what is to be thought of them."""
    over = datetime.now(timezone.utc) - timedelta(seconds=1)
    made = {role: tokens.create(tokens_file, role, role) for role in ("read", "write", "admin")}
    made["expired"] = tokens.create(tokens_file, "expired", "admin", over)
    made["revoked"] = tokens.create(tokens_file, "revoked", "admin")
    tokens.revoke(tokens_file, "revoked")
    return made
