"""A PostgreSQL for the tests of this folder; they skip where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from milvine.testing.postgres import Cluster, programs


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("psycopg")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def uri(request: pytest.FixtureRequest) -> str:
    """Each `general.meta_uri` that the catalog can be at."""
    if request.param == "sqlite":
        return "sqlite://:@:/"
    found: Cluster = request.getfixturevalue("cluster")
    return found.uri
