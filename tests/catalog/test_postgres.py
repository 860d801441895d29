"""The catalog in PostgreSQL: whose it is, one writer, lost connections, lost answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milvine.catalog.model import Edit
from milvine.catalog.note import NOTE
from milvine.catalog.place import IN_FOLDER, open_catalog
from milvine.catalog.postgres import schema
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import CatalogFailed, CorruptFile, DataFolderLocked, StorageFailed, Unsupported
from milvine.offline.backup import backup
from milvine.offline.repair import repair
from milvine.offline.restore import restore
from milvine.offline.verify import verify
from milvine.testing.crash.kill import Kills
from milvine.testing.postgres import Cluster
from milvine.types import MetricType
from tests.catalog.network import Loss, Network, network_to

ONES = np.ones((10, 4), np.float32)


def settings(cluster: Cluster) -> Settings:
    return Settings(background=False, meta_uri=cluster.uri, file_cleanup_timeout=0)


def made(root: Path, cluster: Cluster) -> None:
    """A database with ten flushed rows and ten in the log."""
    with Database.open(root, settings(cluster)) as database:
        database.create_collection("books", 4, 1, MetricType.L2)
        database.collection("books").insert(ONES, np.arange(10))
        database.flush()


@pytest.fixture
def network(cluster: Cluster) -> Iterator[Network]:
    with network_to(cluster.port) as network:
        yield network


def through(network: Network, cluster: Cluster) -> Settings:
    """As `settings`, by way of the network."""
    uri = cluster.uri.replace(f":{cluster.port}/", f":{network.port}/")
    return replace(settings(cluster), meta_uri=uri)


def test_the_folder_knows_its_database(tmp_path: Path, cluster: Cluster) -> None:
    made(tmp_path / "a", cluster)
    made(tmp_path / "b", cluster)  # in the same database
    with Database.open(tmp_path / "a", settings(cluster)) as database:
        database.collection("books").drop()
    with Database.open(tmp_path / "b", settings(cluster)) as database:
        assert database.collection("books").count() == 10
    assert cluster.PASSWORD not in (tmp_path / "a" / NOTE).read_text()
    empty = Settings(background=False, meta_uri=cluster.uri.replace("/postgres", "/template1"))
    with pytest.raises(CatalogFailed, match="does not hold the catalog of this folder"):
        Database.open(tmp_path / "a", empty)
    with pytest.raises(CatalogFailed, match="has its catalog in PostgreSQL"):
        Database.open(tmp_path / "a", Settings(background=False))


def test_a_folder_with_a_catalog_of_its_own_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    with Database.open(tmp_path / "own", Settings(background=False)) as database:
        database.create_collection("books", 4, 1, MetricType.L2)
    with pytest.raises(CatalogFailed, match="is in use with a catalog of its own"):
        Database.open(tmp_path / "own", settings(cluster))
    made(tmp_path / "a", cluster)
    (tmp_path / "a" / NOTE).unlink()
    with pytest.raises(CatalogFailed, match="is in use with a catalog of its own"):
        Database.open(tmp_path / "a", settings(cluster))
    (tmp_path / "new").mkdir()
    with pytest.raises(StorageFailed, match="holds no Milvine database"):
        Database.open(tmp_path / "new", settings(cluster), read_only=True)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"folder": 5}', '{"folder": "x; drop schema public"}', "[" * 100_000]
)
def test_a_damaged_note_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    (tmp_path / NOTE).write_text(text)
    with pytest.raises(CorruptFile, match="it names no catalog in PostgreSQL"):
        open_catalog(tmp_path / "catalog.sqlite", IN_FOLDER)


def test_one_writer_on_whatever_machine(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milvine.catalog.postgres.LOCK_SECONDS", 0.2)
    made(tmp_path / "a", cluster)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / NOTE).write_bytes((tmp_path / "a" / NOTE).read_bytes())
    with Database.open(tmp_path / "a", settings(cluster)) as database:
        with pytest.raises(DataFolderLocked, match="is in use by another server or program"):
            open_catalog(elsewhere / "catalog.sqlite", cluster.uri)
        assert cluster.end_sessions() == 1  # as a network does that is gone for a while
        open_catalog(elsewhere / "catalog.sqlite", cluster.uri).close()
        with pytest.raises(CatalogFailed, match="Nothing can be changed until"):
            database.create_collection("films", 4, 1, MetricType.L2)
        assert database.collection("books").count() == 10


def test_it_connects_again(tmp_path: Path, cluster: Cluster) -> None:
    made(tmp_path / "a", cluster)
    with Database.open(tmp_path / "a", settings(cluster)) as database:
        assert cluster.end_sessions() == 1
        database.collection("books").create_partition("one")
        cluster.stop()
        try:
            with pytest.raises(CatalogFailed, match="refused") as caught:
                database.collection("books").create_partition("two")
            assert cluster.PASSWORD not in str(caught.value)
            database.collection("books").insert(ONES, np.arange(10, 20))  # the log needs no catalog
            with pytest.raises(CatalogFailed):
                database.flush()
            assert database.collection("books").count() == 20
        finally:
            cluster.start()
        database.collection("books").create_partition("two")
        database.flush()
    with Database.open(tmp_path / "a", settings(cluster)) as database:
        assert database.collection("books").count() == 20
        assert database.collection("books").partitions() == ["_default", "one", "two"]


def test_errors_of_the_database_do_not_show_the_password(tmp_path: Path, cluster: Cluster) -> None:
    made(tmp_path / "a", cluster)
    uri = f"postgresql://milvine:nowhere@127.0.0.1:{cluster.port}/nowhere"
    with pytest.raises(CatalogFailed, match='database "\\*\\*\\*" does not exist'):
        Database.open(tmp_path / "a", Settings(background=False, meta_uri=uri))


@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.COMMIT])
def test_a_lost_answer_is_looked_up(
    tmp_path: Path, cluster: Cluster, network: Network, loss: Loss
) -> None:
    made(tmp_path / "a", cluster)
    with Database.open(tmp_path / "a", through(network, cluster)) as database:
        database.collection("books").insert(ONES, np.arange(10, 20))
        network.lose(loss)
        if loss is Loss.ANSWER:
            database.flush()
        else:
            with pytest.raises(CatalogFailed, match="closed the connection"):
                database.flush()
            database.flush()
        assert database.collection("books").count() == 20
    assert verify(tmp_path / "a", meta_uri=cluster.uri).clean


def test_a_commit_in_doubt_keeps_its_files(
    tmp_path: Path, cluster: Cluster, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made, and nobody could be asked: nothing is written on top of it, and a restart finds
    all of it.
    """
    monkeypatch.setattr("milvine.catalog.postgres.DOUBT_SECONDS", 0.1)
    made(tmp_path / "a", cluster)
    with Database.open(tmp_path / "a", through(network, cluster)) as database:
        database.collection("books").insert(ONES, np.arange(10, 20))
        network.lose(Loss.ANSWER, and_stay_down=True)
        with pytest.raises(CatalogFailed):
            database.flush()
        network.up = True
        with pytest.raises(CatalogFailed, match="Nothing can be changed until"):
            database.flush()
        with pytest.raises(CatalogFailed, match="Nothing can be changed until"):
            database.stores.catalog.apply(Edit(1))
        assert database.collection("books").count() == 20
    with Database.open(tmp_path / "a", settings(cluster)) as database:
        assert database.collection("books").count() == 20
        database.collection("books").create_partition("new")
    assert verify(tmp_path / "a", meta_uri=cluster.uri).clean


def test_a_connection_lost_after_the_commit(
    tmp_path: Path, cluster: Cluster, network: Network
) -> None:
    """What follows a commit must not make a failure of it."""
    made(tmp_path / "a", cluster)
    with Database.open(tmp_path / "a", through(network, cluster)) as database:
        network.lose(Loss.CONNECTION, and_stay_down=True)
        database.collection("books").create_partition("one")
        network.up = True
        database.create_collection("films", 4, 1, MetricType.L2)
        database.collection("films").create_partition("two")
        assert database.collection("books").partitions() == ["_default", "one"]
    assert verify(tmp_path / "a", meta_uri=cluster.uri).clean


def test_lost_commits_are_noticed(tmp_path: Path, cluster: Cluster) -> None:
    made(tmp_path / "a", cluster)
    name = schema(json.loads((tmp_path / "a" / NOTE).read_text())["folder"])
    for table in ("collections", "partitions", "segments", "row_sums", "facts"):
        cluster.sql(f"DELETE FROM {name}.{table}")
    cluster.sql(f"ALTER SEQUENCE {name}.collections_id_seq RESTART")
    with pytest.raises(CorruptFile, match="it has lost commits"):
        Database.open(tmp_path / "a", settings(cluster))
    assert list((tmp_path / "a" / "segments").iterdir())


def test_backup_is_sqlite_and_repair_names_pg_dump(tmp_path: Path, cluster: Cluster) -> None:
    made(tmp_path / "a", cluster)
    backup(tmp_path / "a", tmp_path / "backups", meta_uri=cluster.uri)
    restore(tmp_path / "backups", tmp_path / "restored")
    with Database.open(tmp_path / "restored", Settings(background=False)) as database:
        assert database.collection("books").count() == 10
    with pytest.raises(Unsupported, match="pg_dump"):
        repair(tmp_path / "a")
    with pytest.raises(CatalogFailed, match="has its catalog in PostgreSQL"):
        verify(tmp_path / "a")


def test_a_reader_follows(tmp_path: Path, cluster: Cluster) -> None:
    made(tmp_path / "a", cluster)
    with (
        Database.open(tmp_path / "a", settings(cluster)) as database,
        Database.open(tmp_path / "a", settings(cluster), read_only=True) as reader,
    ):
        database.collection("books").insert(ONES, np.arange(10, 20))
        database.flush()
        reader.refresh()
        assert reader.collection("books").count() == 20


def test_fsync_off_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    cluster.sql("ALTER SYSTEM SET fsync = off")
    try:
        cluster.stop()
        cluster.start()
        with pytest.raises(CatalogFailed, match="runs with fsync = off"):
            Database.open(tmp_path / "a", settings(cluster))
    finally:
        cluster.sql("ALTER SYSTEM RESET fsync")
        cluster.stop()
        cluster.start()


def test_kill(tmp_path: Path, cluster: Cluster) -> None:
    report = Kills(tmp_path, 1, {"meta_uri": cluster.uri}).run(2)
    assert report.ok, report
