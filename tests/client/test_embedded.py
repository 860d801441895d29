"""A database in the process: `uri='file:///path'`, shared by the clients of one folder."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import pytest

from milvine.engine.database import Database
from milvine.segment.reader import Segment
from milvus import IndexType, Milvus, NotConnectError

ROOT = Path(__file__).parents[2]
PARAM = {"collection_name": "a", "dimension": 8}


def open_at(folder: Path) -> Milvus:
    return Milvus(uri=folder.as_uri())


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )


def test_clients_of_one_folder_share_a_database(tmp_path: Path) -> None:
    first, second = open_at(tmp_path / "data"), open_at(tmp_path / "data")
    first.create_collection(PARAM)
    assert second.list_collections()[1] == ["a"]
    first.close()
    assert second.insert("a", np.ones((3, 8)))[0].OK()
    second.close()
    Database.open(tmp_path / "data").close()  # nobody has it open
    third = open_at(tmp_path / "data")
    assert third.count_entities("a")[1] == 3
    third.close()


def test_one_folder_by_two_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    first = open_at(tmp_path / "data")
    second = open_at(tmp_path / "link")
    first.create_collection(PARAM)
    assert second.has_collection("a")[1]
    first.close()
    second.close()


def test_a_forgotten_client_lets_go(tmp_path: Path) -> None:
    milvus = open_at(tmp_path / "data")
    del milvus
    gc.collect()
    Database.open(tmp_path / "data").close()  # nobody has it open


def test_two_folders(tmp_path: Path) -> None:
    one, two = open_at(tmp_path / "one"), open_at(tmp_path / "two")
    one.create_collection(PARAM)
    assert two.list_collections()[1] == []
    one.close()
    two.close()


def test_rows_survive_a_process_that_never_closes(tmp_path: Path) -> None:
    code = (
        "from milvus import Milvus\n"
        f"m = Milvus(uri={(tmp_path / 'data').as_uri()!r})\n"
        "m.create_collection({'collection_name': 'a', 'dimension': 2})\n"
        "print(m.insert('a', [[1.0, 2.0]], ids=[7])[0].OK())\n"
    )
    done = run(code)
    assert (done.stdout, done.stderr) == ("True\n", "")
    milvus = open_at(tmp_path / "data")
    assert milvus.get_entity_by_id("a", [7])[1] == [[1.0, 2.0]]
    milvus.close()


def test_all_are_closed_with_the_process_whatever_one_meets(tmp_path: Path) -> None:
    """Of three folders, of which one is elsewhere by then and has another in its place."""
    code = f"""
import atexit, os
from pathlib import Path
atexit.register(os._exit, 3)  # the first is the last
from milvine.engine.database import Database
from milvus import Milvus
root, closed = Path({str(tmp_path)!r}), []
clients = [Milvus(uri=(root / name).as_uri()) for name in "abc"]
(root / "c").rename(root / "moved")
clients.append(Milvus(uri=(root / "c").as_uri()))
def close(database):
    print(id(database), flush=True)
    raise LookupError
Database.close = close
"""
    done = run(code)
    assert done.returncode == 3 and len(set(done.stdout.split())) == 4
    assert "LookupError" in done.stderr


def test_a_second_process_is_told(tmp_path: Path) -> None:
    milvus = open_at(tmp_path / "data")
    done = run(f"from milvus import Milvus; Milvus(uri={(tmp_path / 'data').as_uri()!r})")
    milvus.close()
    assert done.returncode == 1 and "NotConnectError: Cannot open the database in" in done.stderr


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotConnectError):
        open_at(tmp_path / "file" / "data")


def test_rpcs_that_are_not_there_answer_as_a_server_does(tmp_path: Path) -> None:
    milvus = open_at(tmp_path / "data")
    milvus.create_collection(PARAM)
    status = milvus.load_collection("a")
    assert status.code in (0, grpc.StatusCode.UNIMPLEMENTED)
    milvus.close()


def test_after_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    milvus = open_at(tmp_path / "data")
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(
            NotConnectError,
            match="stays with the process that opened it. Let the parent make the calls",
        ):
            milvus.list_collections()
    assert milvus.list_collections()[0].OK()
    milvus.close()


def test_a_whole_life(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).random((5000, 8), dtype=np.float32)
    milvus = open_at(tmp_path / "data")
    milvus.create_collection(PARAM)
    assert milvus.insert("a", rows, ids=np.arange(5000))[1] == list(range(5000))
    assert milvus.create_index("a", IndexType.IVF_FLAT, {"nlist": 32}).OK()
    assert milvus.search("a", 1, rows[:50], params={"nprobe": 32})[1].id_array == [
        [id] for id in range(50)
    ]
    assert (
        milvus.delete_entity_by_id("a", [0]).OK()
        and milvus.flush(["a"]).OK()
        and milvus.compact("a").OK()
    )
    milvus.close()
    again = open_at(tmp_path / "data")
    assert again.count_entities("a")[1] == 4999
    assert 0 not in again.search("a", 3, rows[:1], params={"nprobe": 32})[1].id_array[0]
    again.close()


def test_a_client_of_a_server_that_never_closes(server_port: int) -> None:
    done = run(
        f"from milvus import Milvus; m = Milvus(port={server_port}, host='127.0.0.1');"
        " print(m.flush().OK())"
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def loaded(code: str) -> set[str]:
    done = run(f"import sys\n{code}\nprint(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()} | set(done.stdout.split())


def test_a_client_of_a_server_loads_no_engine(server_port: int) -> None:
    modules = loaded(
        f"from milvus import Milvus; Milvus(port='{server_port}',"
        " host='127.0.0.1').server_version()"
    )
    assert "grpc" in modules
    assert not modules & {
        "faiss",
        "sqlalchemy",
        "typer",
        "milvine.engine",
        "milvine.server",
        "milvine.catalog",
    }


def test_the_import_alone_opens_no_door() -> None:
    assert not loaded("import milvus") & {"grpc", "faiss", "sqlalchemy"}


def test_an_embedded_client_opens_no_socket(tmp_path: Path) -> None:
    code = (
        "from milvus import Milvus;"
        f" Milvus(uri={(tmp_path / 'data').as_uri()!r}).list_collections()"
    )
    assert "grpc" not in loaded(code)


def test_what_is_counted_and_described_reads_no_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).random((5000, 8), dtype=np.float32)
    with closing(open_at(tmp_path / "data")) as client:
        client.create_collection({"collection_name": "c", "dimension": 8})
        client.insert("c", rows, ids=list(range(5000)))
        client.flush(["c"])
        client.delete_entity_by_id("c", [1, 2, 3])

    def read(*_: object) -> None:
        raise AssertionError("vectors are read")

    for name in ("vectors", "vectors_until", "picked_until", "flat_image"):
        monkeypatch.setattr(Segment, name, read)
    with closing(open_at(tmp_path / "data")) as client:
        assert client.count_entities("c")[1] == 4997
        assert client.get_collection_stats("c")[1]["row_count"] == 4997
        assert client.get_collection_info("c")[1].dimension == 8
        assert not client.search("c", 1, rows[:1])[0].OK(), "a reader of vectors would be noticed"


def collections(folder: Path) -> list[str]:
    with closing(open_at(folder)) as milvus:
        status, names = milvus.list_collections()
        assert status.OK()
        return names


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows lets nobody move a folder with open files"
)
def test_a_folder_that_was_removed_is_opened_as_a_new_database(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    milvus = open_at(folder)
    assert milvus.create_collection({"collection_name": "a", "dimension": 4}).OK()
    shutil.rmtree(folder)
    assert not milvus.create_collection({"collection_name": "lost", "dimension": 4}).OK()
    assert not folder.exists()
    # While the first is still there, as in a notebook whose cell is run again.
    again = open_at(folder)
    assert again.list_collections()[1] == []
    assert again.create_collection({"collection_name": "b", "dimension": 4}).OK()
    assert again.insert("b", np.eye(4), ids=[1, 2, 3, 4])[0].OK()
    milvus.close()
    again.close()
    assert collections(folder) == ["b"]


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows lets nobody move a folder with open files"
)
def test_a_folder_that_was_renamed_is_not_what_its_old_path_opens(tmp_path: Path) -> None:
    first = open_at(tmp_path / "building")
    assert first.create_collection({"collection_name": "one", "dimension": 4}).OK()
    (tmp_path / "building").rename(tmp_path / "ready")
    second = open_at(tmp_path / "building")
    assert second.create_collection({"collection_name": "two", "dimension": 4}).OK()
    status = first.create_collection({"collection_name": "three", "dimension": 4})
    assert not status.OK() and "was moved, removed or replaced" in status.message
    assert first.list_collections()[1] == ["one"]
    with pytest.raises(NotConnectError, match="open in this process already"):
        open_at(tmp_path / "ready")
    second.close()
    first.close()
    assert collections(tmp_path / "ready") == ["one"]
    assert collections(tmp_path / "building") == ["two"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_says_so_and_opens_what_is_free(tmp_path: Path) -> None:
    done = run(f"""
import os
from milvus import Milvus, NotConnectError
milvus = Milvus(uri="file://{tmp_path}/a")
if os.fork() == 0:
    try:
        milvus.list_collections()
    except NotConnectError as error:
        assert "stays with the process that opened it" in str(error)
        milvus.close()
        other = Milvus(uri="file://{tmp_path}/b")
        assert other.create_collection({{"collection_name": "c", "dimension": 4}}).OK()
        other.close()
        os._exit(3)
    os._exit(4)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 3
assert milvus.create_collection({{"collection_name": "c", "dimension": 4}}).OK()
milvus.close()
Milvus(uri="file://{tmp_path}/a").close()
""")
    assert done.returncode == 0, done.stderr
