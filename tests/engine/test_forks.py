"""A process with an open database is forked: the child shares nothing of it that would keep others
from the folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from milvine.engine.database import Database

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

OPEN = """
import os, sys
import numpy as np
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import DatabaseClosed, DataFolderLocked
from milvine.types import MetricType, Query

folder = sys.argv[1]
row = np.ones((1, 4), np.float32)


def in_child(work):
    # A child that does some work and lives until the result is called, which tells how it ended.
    done, told = os.pipe()
    go, last = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(last)
        try:
            work()
            os.write(told, b"ok")
        except BaseException as error:
            os.write(told, repr(error).encode())
        os.read(go, 1)
        os._exit(0)
    os.close(told)
    said = os.read(done, 4096).decode()
    assert said == "ok", said
    return lambda: (os.close(last), os.waitpid(child, 0))


database = Database.open(folder)
database.create_collection("a", 4, 64, MetricType.L2)
database.collection("a").insert(row, np.array([1]))
"""
RUNS = {
    "closed by the parent": (
        """
end = in_child(lambda: None)
database.close()
with Database.open(folder) as again:
    assert again.collection("a").count() == 1
end()
"""
    ),
    "used in the child": (
        """
def work():
    calls = [
        lambda: database.collection("a").insert(row, np.array([2])),
        lambda: database.collection("a").search(row, 1),
        lambda: database.collection("a").count(),
        lambda: database.flush(),
        lambda: database.backup(folder + "-backup"),
        lambda: database.check_ready(),
    ]
    for call in calls:
        try:
            call()
        except DatabaseClosed as error:
            assert "was forked from that" in str(error), error
        else:
            raise AssertionError("not refused")
    database.close()
    try:
        Database.open(folder)
    except DataFolderLocked as error:
        assert "in use by another process" in str(error)
    else:
        raise AssertionError("opened twice")


end = in_child(work)
database.collection("a").insert(row, np.array([3]))
assert database.collection("a").count() == 2
end()
database.close()
with Database.open(folder) as again:
    assert again.collection("a").count() == 2
"""
    ),
    "opened by the child once it is free": (
        """
database.close()


def work():
    with Database.open(folder) as mine:
        mine.collection("a").insert(row, np.array([2]))
        assert mine.collection("a").search(row, 2).ids.shape == (1, 2)


in_child(work)()
with Database.open(folder) as again:
    assert again.collection("a").count() == 2
"""
    ),
    "files of the parent": (
        """
database.flush()
database.collection("a").search(row, 1)


def work():
    held = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    place = os.path.realpath(folder)
    ours = {name for name in held if name.startswith(place) and "catalog.sqlite" not in name}
    assert not ours, ours
    with open("/proc/self/maps") as maps:
        mapped = [line for line in maps if "/segments/" in line]
    assert not mapped, mapped


in_child(work)()
database.close()
"""
    ),
    "the child ends as programs do": (
        """
child = os.fork()
if child == 0:
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
database.collection("a").insert(row, np.array([2]))
database.create_collection("b", 4, 64, MetricType.L2)
database.close()
with Database.open(folder) as again:
    assert again.collection("a").count() == 2 and again.collections() == ["a", "b"]
"""
    ),
}
CRASH = """
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
os._exit(9)
"""


@pytest.mark.parametrize("what", RUNS)
def test_forked(tmp_path: Path, what: str) -> None:
    if what == "files of the parent" and not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    command = [sys.executable, "-c", OPEN + RUNS[what], str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_parent_crashes_and_a_child_lives_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN + CRASH, str(tmp_path / "data")]
    pipe = subprocess.PIPE
    # The child holds both pipes.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "forked\n"
        assert parent.wait() == 9
        with Database.open(tmp_path / "data") as again:
            assert again.collection("a").count() == 1


BUILDER = """
database.parts.builders.prepare()
spare = database.parts.builders._spare
print(spare.pid, flush=True)
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
os._exit(9)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_builder_that_waits_ends_with_its_parent_though_a_child_lives_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN + BUILDER, str(tmp_path / "data")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        builder = int(parent.stdout.readline())
        assert parent.wait() == 9
        deadline = time.monotonic() + 60
        while _lives(builder):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _lives(process: int) -> bool:
    """As something that runs: nobody may be there to ask how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
