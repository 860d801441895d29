"""More files than may be open: what was loaded stays, the rest takes turns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from milvine.types import MetricType


def test_more_files_are_loaded_than_may_be_open(open_database):
    database = open_database(open_files_max=2)
    database.create_collection("loaded", 8, 1024, MetricType.L2)
    database.create_collection("other", 8, 1024, MetricType.L2)
    vectors = np.random.default_rng(1).random((50, 8), dtype=np.float32)
    for number in range(6):
        for name in ("loaded", "other"):
            database.collection(name).insert(vectors[number : number + 1], np.array([number]))
        database.flush()
    database.collection("loaded").preload()
    files = {
        name
        for each in database.stores.names["loaded"].version.segments
        for name in each.segment.record.files
    }
    assert len(files) == 6 and files <= set(database.inspect().open_files)
    for name in ("other", "loaded", "other"):
        assert database.collection(name).search(vectors[:6], 1, {}).ids.ravel().tolist() == list(
            range(6)
        )
    assert files <= set(database.inspect().open_files)
    assert len(set(database.inspect().open_files) - files) <= 2
    database.collection("loaded").release()
    assert not files & set(database.inspect().open_files)


FEW = """
import resource, sys, threading
import numpy as np

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from milvine.config import Settings
from milvine.engine.database import Database
from milvine.types import IndexSetting, IndexType, MetricType, Query

SEGMENTS = 320
folder = sys.argv[1]
rows = np.random.default_rng(0).random((SEGMENTS, 8), dtype=np.float32)
settings = Settings(background=False)
wrong = []


def look(database, kind="many", number=0):
    try:
        for start in range(0, SEGMENTS, 64):
            hits = database.collection(kind).search(rows[start : start + 8], 1)
            found = hits.ids.ravel().tolist()
            if found != list(range(start, start + 8)):
                raise AssertionError(found)
    except Exception as error:
        wrong.append(repr(error))


database = Database.open(folder, settings)
database.create_collection("many", 8, 1024, MetricType.L2)
for number in range(SEGMENTS):
    database.collection("many").insert(rows[number : number + 1], np.array([number]))
    database.flush()
assert database.collection("many").stats()
threads = [threading.Thread(target=look, args=(database,)) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
database.collection("many").preload()
look(database)
with open("/dev/null") as first:
    others = [open("/dev/null") for _ in range(60)]  # those of the program
    look(database)
    with Database.open(folder, settings, read_only=True) as follower:
        look(follower)
    [other.close() for other in others]
database.collection("many").delete(np.arange(0))
database.collection("many").insert(rows[:1], np.array([1000]))
database.collection("many").delete(np.array([1000]))
database.backup(folder + "-backup")
database.create_collection("large", 8, 1024, MetricType.L2)
more = np.random.default_rng(1).random((5000, 8), dtype=np.float32)
database.collection("large").insert(more, np.arange(5000))
database.collection("large").create_index(IndexSetting(IndexType.IVF_FLAT, '{"nlist": 4}'))
database.collection("many").compact()
look(database)
database.close()
with Database.open(folder, settings) as again:
    look(again)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, 256)
assert not wrong, wrong
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource")
def test_more_segments_than_a_process_may_open_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FEW, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


RAISED = """
import resource, sys

resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from milvine.cli import main

sys.argv = ["milvine", "version"]
try:
    main()
except SystemExit:
    pass
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
assert soft == hard, (soft, hard)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="others say more than they allow")
def test_every_command_may_open_what_its_user_may() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RAISED], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
