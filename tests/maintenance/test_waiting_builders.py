"""A builder that waits for its work: taken, replaced when it died, and never left behind."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import BuildFailed
from milvine.events import Events, IndexBuilt
from milvine.index.base import untold
from milvine.interpreter import running
from milvine.maintenance import process
from milvine.maintenance.builder import BuildSpec
from milvine.maintenance.process import PROGRAM, Builders, run_builder
from milvine.memory_plan import WAITING_BUILDER_BYTES
from milvine.types import IndexSetting, IndexType, MetricType, Query
from tests.builders import INSTEAD, start_builders

SETTINGS = Settings(background=False, build_threads=1)
IVF = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16})
SQ8 = IndexSetting.of(IndexType.IVF_SQ8, {"nlist": 16})
ROWS = 4200
PATIENCE = 120
KILLED = INSTEAD.format("os.kill(os.getpid(), signal.SIGKILL)")
DIES_ASKED = "import os, signal, sys; os.read(0, 1 << 16); os.kill(os.getpid(), signal.SIGKILL)"
on_linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")


def vectors():
    return np.random.default_rng(1).random((ROWS, 8), dtype=np.float32)


def filled(folder, settings=SETTINGS, seen=None):
    database = Database.open(folder, settings, Events(([] if seen is None else seen).append))
    database.create_collection("c", 8, 1024, MetricType.L2)
    database.collection("c").insert(vectors(), np.arange(ROWS))
    return database


def until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def gone(pid):
    """Whether no such process exists any more; one that nobody has asked for its code does."""
    return not Path(f"/proc/{pid}").exists()


def dead(pid):
    """Whether it has ended; a parent in another process may still have to ask for its code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def builders():
    made = Builders()
    yield made
    made.close()


@pytest.fixture
def started(monkeypatch):
    """The processes of all builders, in order."""
    return start_builders(monkeypatch)


def test_one_build_after_the_other_finds_a_builder_that_waits(tmp_path, started):
    seen = []
    with filled(tmp_path, seen=seen) as database:
        assert not started
        database.collection("c").create_index(IVF)
        first, following = started
        assert first.returncode == 0 and following.poll() is None
        database.collection("c").create_index(SQ8)
        _, _, last = started
        assert following.returncode == 0 and last.poll() is None
    assert [event.index_type for event in seen if isinstance(event, IndexBuilt)] == [
        "IVF_FLAT",
        "IVF_SQ8",
    ]


def test_the_builder_of_the_next_segment_starts_beside_the_first(tmp_path, monkeypatch):
    started, alive = start_builders(monkeypatch), []
    start = process.start_builder

    def counting():
        alive.append(sum(each.poll() is None for each in started))
        return start()

    monkeypatch.setattr(process, "start_builder", counting)
    with filled(tmp_path) as database:
        database.collection("c").create_partition("p")
        database.collection("c").insert(vectors(), np.arange(ROWS, 2 * ROWS), "p")
        database.collection("c").create_index(IVF)
        assert alive == [0, 1, 0]  # the third waits for what may come
        assert [each.returncode for each in started] == [0, 0, None]


@pytest.mark.parametrize("noticed", [True, False])
def test_a_builder_that_died_while_it_waited_is_replaced(tmp_path, monkeypatch, noticed):
    seen = []
    programs = [PROGRAM, PROGRAM if noticed else DIES_ASKED, PROGRAM]
    started = start_builders(monkeypatch, *programs)
    with filled(tmp_path, seen=seen) as database:
        database.collection("c").create_index(IVF)
        _, doomed = started
        if noticed:
            doomed.kill()
            until(lambda: doomed.poll() is not None)
        database.collection("c").create_index(SQ8)
        assert doomed.returncode == -signal.SIGKILL and started[2].returncode == 0
    assert [event.index_type for event in seen if isinstance(event, IndexBuilt)] == [
        "IVF_FLAT",
        "IVF_SQ8",
    ]


def test_a_build_that_is_stopped_ends_the_builder_that_waited_for_it(builders, started):
    builders.prepare()
    (chosen,) = started
    nothing = BuildSpec(**{field.name: 0 for field in fields(BuildSpec)})
    assert builders.run(nothing, untold, lambda: True) is False
    assert started == [chosen] and chosen.returncode == -signal.SIGKILL


@on_linux
def test_closing_a_database_leaves_no_process_and_no_open_file(tmp_path, started):
    before = open_files()
    with filled(tmp_path) as database:
        database.collection("c").create_index(IVF)
        pid = started[-1].pid
        assert not gone(pid)
    assert gone(pid) and open_files() == before


def test_once_closed_none_is_started_to_wait(builders, started):
    builders.close()
    builders.prepare()
    assert not started


@on_linux
def test_a_builder_that_nobody_wants_is_ended_after_a_while(started):
    before, builders = open_files(), Builders(seconds=0.2)
    builders.prepare()
    pid = started[0].pid
    until(lambda: gone(pid))
    assert open_files() == before


def test_being_asked_again_lets_it_wait_longer(started):
    timers = []

    def timer(*arguments):
        timers.append(threading.Timer(*arguments))
        return timers[-1]

    builders = Builders(timer=timer)
    builders.prepare()
    builders.prepare()
    first, second = timers
    assert first.finished.is_set() and not second.finished.is_set()
    first.function()  # it had just run out, and comes too late
    (waiting,) = started
    assert waiting.poll() is None
    builders.close()
    assert second.finished.is_set() and waiting.returncode == -signal.SIGKILL


def test_databases_have_builders_of_their_own(tmp_path, started):
    with filled(tmp_path / "one") as one, filled(tmp_path / "other") as other:
        one.collection("c").create_index(IVF)
        other.collection("c").create_index(IVF)
        _, first, _, second = started
        one.close()
        assert first.returncode is not None and second.poll() is None
        other.collection("c").create_index(SQ8)
        assert second.returncode == 0


@on_linux
@pytest.mark.parametrize("end", ["", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_it_ends_with_a_program_that_closes_nothing(tmp_path, end):
    code = f"""
import os, sys
sys.path[:] = {sys.path!r}
from milvine.engine.database import Database
from milvine.maintenance import process
from milvine.types import IndexSetting, IndexType, MetricType
import numpy as np
start, started = process.start_builder, []
def noting():
    started.append(start())
    return started[-1]
process.start_builder = noting
database = Database.open({str(tmp_path)!r})
database.create_collection("c", 8, 1024, MetricType.L2)
rows = np.random.default_rng(1).random(({ROWS}, 8), dtype=np.float32)
database.collection("c").insert(rows, np.arange({ROWS}))
database.collection("c").create_index(IndexSetting.of(IndexType.IVF_FLAT, {{"nlist": 16}}))
print(started[-1].pid, flush=True)
{end}
"""
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=PATIENCE)
    until(lambda: dead(int(ended.stdout)))


@pytest.mark.parametrize(
    "settings",
    [SETTINGS, Settings(background=False, build_threads=1, build_in_subprocess=False)],
    ids=["own", "ours"],
)
def test_none_waits_where_nothing_would_be_built(tmp_path, monkeypatch, settings):
    prepared = []
    monkeypatch.setattr(Builders, "prepare", lambda self: prepared.append(self))
    with filled(tmp_path, settings) as database:
        database.create_collection("small", 8, 1024, MetricType.L2)
        database.collection("small").insert(vectors()[:100], np.arange(100))
        database.collection("small").create_index(IVF)
        database.collection("c").create_index(IndexSetting.of(IndexType.FLAT, {}))
        assert not prepared
        database.collection("c").create_index(IVF)
        assert bool(prepared) == settings.build_in_subprocess
        prepared.clear()
        database.collection("c").create_index(IVF)  # it has it already
        assert not prepared


def test_where_memory_is_short_none_waits(builders, monkeypatch, started):
    monkeypatch.setattr(process, "memory_left", lambda: WAITING_BUILDER_BYTES)
    builders.prepare()
    (waited,) = started
    assert waited.poll() is None
    monkeypatch.setattr(process, "memory_left", lambda: WAITING_BUILDER_BYTES - 1)
    builders.prepare()
    assert started == [waited] and waited.returncode is not None


def test_where_no_process_can_be_started_none_waits(builders, monkeypatch, started):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    builders.prepare()
    assert not started


@pytest.mark.parametrize("given", [None, "3"])
def test_the_threads_of_numpy_are_bounded_and_those_of_faiss_as_they_were(given):
    name = "OPENBLAS_NUM_THREADS"
    around = {key: value for key, value in os.environ.items() if key != name} | (
        {name: given} if given else {}
    )
    seen = PROGRAM.replace("import numpy\n", "import numpy\nprint(os.environ[name])\n")
    code = seen.replace("sys.exit(main())", "print(os.environ.get(name))")
    told = subprocess.run(running(code), env=around, stdout=subprocess.PIPE)
    assert told.stdout.decode().split() == [given or "1", str(given)]


@on_linux
def test_the_system_ends_a_builder_before_its_parent_when_memory_ends(builders, started):
    builders.prepare()
    score = Path(f"/proc/{started[0].pid}/oom_score_adj")
    until(lambda: score.read_text().strip() == "1000")
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 1000


def test_a_builder_that_is_killed_says_what_it_may_be_and_hurts_nothing(tmp_path, monkeypatch):
    start_builders(monkeypatch, KILLED)
    with filled(tmp_path) as database:
        with pytest.raises(
            BuildFailed,
            match=r"^Cannot build .*: the builder ended with code -9 \(out of memory\?\)$",
        ):
            database.collection("c").create_index(IVF)
        assert not database.stores.builds
        assert database.collection("c").search(vectors()[:3], 1, {"nprobe": 1}).ids[
            :, 0
        ].tolist() == [
            0,
            1,
            2,
        ]
        monkeypatch.undo()
        database.collection("c").create_index(IVF)
        (segment,) = database.collection("c").stats().partitions[0].segments
        assert segment.index_name == "IVFFLAT"


@on_linux
def test_what_a_terminal_tells_all_processes_is_not_for_builders(tmp_path, started):
    with filled(tmp_path) as database:
        database.collection("c").create_index(IVF)
        _, spare = started
        ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        mask = sum(1 << (number - 1) for number in ignored)
        status = Path(f"/proc/{spare.pid}/status")
        until(lambda: int(re.search(r"SigIgn:\s+(\w+)", status.read_text())[1], 16) & mask == mask)
        for number in ignored:
            spare.send_signal(number)
        database.collection("c").create_index(SQ8)
        assert spare.returncode == 0


def test_an_interrupted_build_is_ended_and_not_waited_for(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    started = start_builders(monkeypatch, INSTEAD.format("time.sleep(600)"))
    with pytest.raises(KeyboardInterrupt):
        run_builder(BuildSpec("", "", 1, "", 1, 8, 1, 2, "{}", 1, 60), untold, interrupted)
    assert started[0].returncode == -signal.SIGKILL


@pytest.fixture
def no_children_to_wait_for():
    """As programs set it that start processes and never ask how they ended: every code is
    0 then.
    """
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


def test_a_build_is_known_by_its_word_not_by_its_code(
    tmp_path, monkeypatch, no_children_to_wait_for
):
    seen = []
    start_builders(monkeypatch, PROGRAM, KILLED)
    with filled(tmp_path, seen=seen) as database:
        database.collection("c").create_index(IVF)
        built = [event for event in seen if isinstance(event, IndexBuilt)]
        assert len(built) == 1
        with pytest.raises(BuildFailed):
            database.collection("c").create_index(SQ8)
        assert [event for event in seen if isinstance(event, IndexBuilt)] == built
        query = Query(vectors()[:1], 1, {"nprobe": 16})
        assert database.collection("c").search(*query).ids.tolist() == [[0]]
