"""The data folder: one writer at a time, versions that are known, files that appear whole or not at
all.
"""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from milvine.engine.database import Database
from milvine.errors import DataFolderLocked, StorageFailed, UnsupportedFormat
from milvine.offline.backup import backup
from milvine.offline.repair import repair
from milvine.offline.verify import verify
from milvine.storage.folder import FORMAT_VERSION
from milvine.storage.local import LocalStorage

OPEN = "import sys; from milvine.engine.database import Database; Database.open(sys.argv[1])"


def test_a_second_process_gets_a_clear_error(tmp_path):
    with Database.open(tmp_path):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        second = subprocess.run(
            [sys.executable, "-c", OPEN, str(tmp_path)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    assert second.returncode == 1
    assert f"is in use by another process (pid {os.getpid()})" in second.stderr


def test_a_second_open_in_this_process_too_and_closing_frees(tmp_path):
    first = Database.open(tmp_path)
    with pytest.raises(DataFolderLocked):
        Database.open(tmp_path)
    first.close()
    first.close()
    Database.open(tmp_path).close()


HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
os.write(fd, b"1234567890123")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="fcntl")
@pytest.mark.parametrize("end", ["slowly", "killed"])
def test_a_lock_that_is_about_to_go_is_waited_for(tmp_path, end):
    seconds = "0.3" if end == "slowly" else "60"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "LOCK"), seconds],
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        if end == "killed":
            holder.kill()
        Database.open(tmp_path).close()
    assert (tmp_path / "LOCK").read_text() == str(os.getpid())


def test_a_newer_folder_is_refused(tmp_path):
    Database.open(tmp_path).close()
    (tmp_path / "FORMAT").write_text(json.dumps({"milvine_format": 99}))
    with pytest.raises(UnsupportedFormat, match="has format 99"):
        Database.open(tmp_path)


def test_an_older_folder_is_upgraded_by_the_first_writer(tmp_path):
    Database.open(tmp_path).close()
    path = tmp_path / "FORMAT"
    path.write_text(json.dumps({"milvine_format": 1}))
    Database.open(tmp_path, read_only=True).close()
    assert not verify(tmp_path).findings
    assert json.loads(path.read_bytes()) == {"milvine_format": 1}
    Database.open(tmp_path).close()
    assert json.loads(path.read_bytes()) == {"milvine_format": FORMAT_VERSION}


def test_read_only_needs_a_database(tmp_path):
    with pytest.raises(StorageFailed, match="holds no Milvine database"):
        Database.open(tmp_path, read_only=True)


@pytest.mark.parametrize("name", ["file", "file/below"])
@pytest.mark.parametrize(
    "opened",
    [
        Database.open,
        partial(Database.open, read_only=True),
        verify,
        repair,
        lambda path: backup(path, path.with_name("backups")),
    ],
    ids=["write", "read", "verify", "repair", "backup"],
)
def test_a_file_in_its_place_is_told(tmp_path, opened, name):
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match=r"/file is a file, not a data folder$"):
        opened(tmp_path / name)


@pytest.mark.parametrize("use_mmap", [True, False])
def test_a_file_appears_whole_or_not_at_all(tmp_path, use_mmap):
    storage = LocalStorage(tmp_path, use_mmap)
    with pytest.raises(RuntimeError), storage.create("half") as sink:
        sink.write(b"abc")
        raise RuntimeError
    assert storage.names() == []
    with storage.create("whole") as sink:
        sink.write(b"abc")
        assert sink.position == 3
        assert storage.names() == ["whole.tmp"]
    assert storage.read("whole").tobytes() == b"abc" and storage.size("whole") == 3
    assert isinstance(storage.read("whole"), np.ndarray)
    assert storage.remove("whole") and storage.remove("whole") and storage.size("whole") == 0
    with pytest.raises(StorageFailed, match="Cannot read"):
        storage.read("whole")
