"""What a machine does to a database: clocks that jump back, folders that may not be read, reads
that fail, stops.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from milvine.engine import opening
from milvine.engine.database import Database
from milvine.errors import CorruptFile, OperatorError, StorageFailed
from milvine.events import NetworkFolder
from milvine.state import ids as clock
from milvine.storage import local
from milvine.storage.filesystem import network_kind
from milvine.types import MetricType
from milvus import Milvus
from tests.faults.conftest import fill
from tests.serving import serving

ROWS = np.zeros((10, 8), np.float32)
YEAR = 365 * 86400 * 10**9


# clocks


def test_ids_increase_though_the_clock_jumps_back(open_database, monkeypatch):
    """A year back at every step: between inserts, at a flush, over restarts, after a drop."""
    times = iter(range(40 * YEAR, 0, -YEAR))
    monkeypatch.setattr(clock, "time", SimpleNamespace(time_ns=lambda: next(times)))
    given: list[int] = []

    def insert(database: Database, name: str) -> None:
        made = database.collection(name).insert(ROWS, None)
        assert made[0] > (given[-1] if given else 0) and (np.diff(made) == 1).all()
        given.extend(made.tolist())

    database = open_database()
    for name in ("kept", "dropped"):
        database.create_collection(name, 8, 1, MetricType.L2)
        insert(database, name)
    insert(database, "kept")
    database.flush()
    insert(database, "dropped")
    database.collection("dropped").drop()
    database.close()
    for life in range(3):
        database = open_database(wal_file_bytes=1)
        insert(database, "kept")
        if life:
            database.flush()
        database.close()
    assert len(set(given)) == len(given)
    database = open_database()
    assert database.collection("kept").count() == 50
    names = [
        int(name.partition("-")[2].partition(".")[0]) for name in database.stores.storage.names()
    ]
    assert len(set(names)) == len(names)


def test_no_file_gets_a_name_that_a_builder_of_before_still_writes(
    open_database, tmp_path, monkeypatch
):
    database = open_database()
    database.create_collection("c", 8, 1, MetricType.L2)
    database.close()
    late = tmp_path / "db" / "segments" / f"index-{50 * YEAR}.mlv.tmp"
    late.write_bytes(b"half")
    monkeypatch.setattr(clock, "time", SimpleNamespace(time_ns=lambda: 40 * YEAR))
    database = open_database()
    assert database.collection("c").insert(ROWS, None)[0] > 50 * YEAR


# permissions and reads that fail


@pytest.mark.parametrize("what", ["wal", "segments", "catalog.sqlite", "FORMAT", "."])
def test_what_may_not_be_read_is_named(open_database, tmp_path, monkeypatch, what):
    """As another user meets it: for the superserver, permissions are made up."""
    database = open_database()
    fill(database, "c", 100)
    database.collection("c").insert(ROWS, np.arange(200, 210))
    database.close()
    root = tmp_path / "db"
    if os.geteuid():
        (root / what).chmod(0)
    else:
        _forbid(monkeypatch, os.path.normpath(root / what))
    try:
        with pytest.raises(
            OperatorError, match="(?i)permission denied|unable to open|not permitted"
        ):
            open_database()
    finally:
        if os.geteuid():
            (root / what).chmod(0o755)
        monkeypatch.undo()
    assert open_database().collection("c").count() == 110


def _forbid(monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    import builtins
    import io

    from milvine.catalog import sqlite
    from milvine.wal import replay

    def check(path: object) -> None:
        if isinstance(path, (str, os.PathLike)) and os.path.normpath(path).startswith(below):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def guarded(function):
        def call(path, *args, **kwargs):
            check(path)
            return function(path, *args, **kwargs)

        return call

    for owner, name in (
        (os, "open"),
        (builtins, "open"),
        (io, "open"),
        (os, "scandir"),
        (replay.np, "fromfile"),
    ):
        monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))
    make = sqlite.create_engine
    monkeypatch.setattr(
        sqlite,
        "create_engine",
        lambda url, **rest: (check(url.removeprefix("sqlite:///")), make(url, **rest))[1],
    )


def test_a_folder_that_may_only_be_read_refuses_writes_and_answers(open_database, monkeypatch):
    database = open_database()
    vectors = fill(database, "c", 100)

    def refuse(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest, **more)

    real = os.open
    monkeypatch.setattr(os, "open", refuse)
    database.collection("c").insert(ROWS, np.arange(200, 210))  # the log is open already
    with pytest.raises(StorageFailed, match="Read-only file system"):
        database.flush()
    assert database.collection("c").search(vectors[:1], 1, {}).ids[0, 0] == 0
    assert database.collection("c").count() == 110
    monkeypatch.undo()
    database.flush()
    assert database.collection("c").count() == 110


def test_a_file_that_fails_to_be_read_is_named_and_the_rest_goes_on(open_database, monkeypatch):
    database = open_database(mmap=False)
    bad, good = fill(database, "bad", 100), fill(database, "good", 100)
    (segment,) = database.stores.names["bad"].version.segments
    name = segment.segment.record.rows_file
    real = open

    def fail(path, *rest, **more):
        if str(path).endswith(name):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(local, "open", fail, raising=False)
    database.collection("bad").release()
    with pytest.raises(StorageFailed, match=rf"Cannot read .*{name}: .*Input/output error"):
        database.collection("bad").search(bad[:1], 1, {})
    assert database.collection("good").search(good[:1], 1, {}).ids[0, 0] == 0
    database.collection("bad").insert(ROWS, np.arange(500, 510))
    monkeypatch.undo()
    assert database.collection("bad").search(bad[:1], 1, {}).ids[0, 0] == 0


def test_a_file_cut_under_a_running_database(open_database):
    database = open_database(mmap=False)
    bad, good = fill(database, "bad", 100), fill(database, "good", 100)
    (segment,) = database.stores.names["bad"].version.segments
    path = database.stores.storage.folder / segment.segment.record.rows_file
    os.truncate(path, path.stat().st_size // 2)
    database.collection("bad").release()
    with pytest.raises(CorruptFile, match=path.name):
        database.collection("bad").search(bad[:1], 1, {})
    assert database.collection("good").search(good[:1], 1, {}).ids[0, 0] == 0


# network folders


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /srv/data\\040store rw,relatime - nfs4 server:/export rw,vers=4.2
31 22 0:41 / /srv/data\\040store/local rw,relatime - xfs /dev/sdb rw
32 22 0:42 / /var/mine rw - fuse.sshfs me@there: rw
33 22 0:43 / /mnt rw - 9p share rw
34 22 0:44 / /mnt rw - ext4 /dev/sdc rw
broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/data store/db", "nfs4"),
        ("/srv/data store/local/db", ""),
        ("/srv/data storehouse", ""),
        ("/var/mine/db", "fuse.sshfs"),
        ("/mnt/db", ""),
        ("/var/lib", ""),
    ],
)
def test_network_file_systems_are_told_from_others(tmp_path, folder, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert network_kind(Path(folder), mounts) == kind


def test_a_network_folder_is_warned_about(open_database, tmp_path, monkeypatch, told):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"30 22 0:40 / {os.path.realpath(tmp_path)} rw - cifs //server/share rw\n")
    monkeypatch.setattr(opening, "network_kind", partial(network_kind, mounts=mounts))
    open_database()
    assert [(event.folder, event.kind) for event in told if isinstance(event, NetworkFolder)] == [
        (str(tmp_path / "db"), "cifs")
    ]


def test_no_mounts_no_warning(tmp_path):
    assert network_kind(tmp_path, tmp_path / "missing") == ""


# a server that stands still


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
def test_a_stopped_server_goes_on_where_it_was(tmp_path):
    with serving(tmp_path / "db", "--http-port", 0) as server:
        client = Milvus(*server.address.rsplit(":", 1))
        client.create_collection({"collection_name": "c", "dimension": 8})
        assert client.insert("c", ROWS)[0].OK()
        server.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            status, _ = client.search("c", 1, ROWS[:1], timeout=1)
            assert not status.OK()
        except Exception as error:  # as the original client: what a deadline raises
            assert "DEADLINE" in repr(error).upper() or "TIME" in repr(error).upper()
        assert time.monotonic() - began < 20
        server.process.send_signal(signal.SIGCONT)
        status, hits = client.search("c", 1, ROWS[:1], timeout=30)
        assert status.OK() and len(hits) == 1
        assert client.insert("c", ROWS)[0].OK()
        assert client.count_entities("c")[1] == 20
        client.close()
