"""A builder that waits for its work: taken, replaced when it died, and never left behind."""

import os
import re
import signal
import subprocess
import sys
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
from milvine.memory_plan import WAITING_BUILDER_BYTES
from milvine.types import IndexSetting, IndexType, MetricType, Query

SETTINGS = Settings(background=False, build_threads=1)
IVF = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16})
SQ8 = IndexSetting.of(IndexType.IVF_SQ8, {"nlist": 16})
ROWS = 4200
PATIENCE = 120
INSTEAD = """
import os, signal, sys
from milvine.maintenance import builder
def instead(spec, report):
    report("training", 0)
    {}
builder.build = instead
sys.exit(builder.main())
"""
on_linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")


def vectors():
    return np.random.default_rng(1).random((ROWS, 8), dtype=np.float32)


def filled(folder, settings=SETTINGS, seen=None):
    database = Database.open(folder, settings, Events(([] if seen is None else seen).append))
    database.create_collection("c", 8, 1024, MetricType.L2)
    database.insert("c", vectors(), np.arange(ROWS))
    return database


def waiting(database):
    return database._parts.builders._spare


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
    made = process.Builders()
    yield made
    made.close()


@pytest.fixture
def ran(monkeypatch):
    """The processes that were given a build, in order."""
    processes, run = [], process._run

    def noting(started, *rest):
        processes.append(started)
        return run(started, *rest)

    monkeypatch.setattr(process, "_run", noting)
    return processes


def test_one_build_after_the_other_finds_a_builder_that_waits(tmp_path, ran):
    seen = []
    with filled(tmp_path, seen=seen) as database:
        assert waiting(database) is None
        database.create_index("c", IVF)
        following = waiting(database)
        assert following.poll() is None
        database.create_index("c", SQ8)
        assert [each.pid for each in ran][1] == following.pid
        assert len({each.pid for each in ran}) == 2 and all(each.returncode == 0 for each in ran)
        assert waiting(database).pid not in {each.pid for each in ran}
    assert [event.index_type for event in seen if isinstance(event, IndexBuilt)] == [
        "IVF_FLAT",
        "IVF_SQ8",
    ]


def test_the_builder_of_the_next_segment_starts_beside_the_first(tmp_path, monkeypatch):
    beside, run = [], process._run
    with filled(tmp_path) as database:
        database.create_partition("c", "p")
        database.insert("c", vectors(), np.arange(ROWS, 2 * ROWS), "p")

        def noting(started, *rest):
            beside.append((started, waiting(database)))
            return run(started, *rest)

        monkeypatch.setattr(process, "_run", noting)
        database.create_index("c", IVF)
        (_, second), (then, last) = beside
        assert then is second and last is None and waiting(database) not in (None, second)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_builder_that_died_while_it_waited_is_replaced(tmp_path, monkeypatch, ran, noticed):
    seen = []
    with filled(tmp_path, seen=seen) as database:
        database.create_index("c", IVF)
        doomed = waiting(database)
        if noticed:
            doomed.kill()
            until(lambda: doomed.poll() is not None)
        else:
            noting = process._run

            def killing(started, *rest):
                if started is doomed:
                    started.kill()
                return noting(started, *rest)

            monkeypatch.setattr(process, "_run", killing)
        database.create_index("c", SQ8)
        assert (
            doomed.returncode == -signal.SIGKILL
            and ran[-1] is not doomed
            and ran[-1].returncode == 0
        )
    assert [event.index_type for event in seen if isinstance(event, IndexBuilt)] == [
        "IVF_FLAT",
        "IVF_SQ8",
    ]


def test_a_build_that_is_stopped_ends_the_builder_that_waited_for_it(builders, ran):
    builders.prepare()
    chosen = builders._spare
    nothing = BuildSpec(**{field.name: 0 for field in fields(BuildSpec)})
    assert builders.run(nothing, untold, lambda: True) is False
    assert ran == [chosen] and chosen.returncode == -signal.SIGKILL
    assert builders._spare is None


@on_linux
def test_closing_a_database_leaves_no_process_and_no_open_file(tmp_path):
    before = open_files()
    with filled(tmp_path) as database:
        database.create_index("c", IVF)
        pid = waiting(database).pid
        assert not gone(pid)
    assert gone(pid) and open_files() == before
    database._parts.builders.prepare()
    assert waiting(database) is None and open_files() == before


@on_linux
def test_a_builder_that_nobody_wants_is_ended_after_a_while(builders, monkeypatch):
    before = open_files()
    monkeypatch.setattr(process, "_KEPT_SECONDS", 0.2)
    builders.prepare()
    pid = builders._spare.pid
    until(lambda: gone(pid))
    assert builders._spare is None and open_files() == before


def test_being_asked_again_lets_it_wait_longer(builders, monkeypatch):
    builders.prepare()
    first, timer = builders._spare, builders._timer
    builders.prepare()
    assert builders._spare is first and timer.finished.is_set()
    timer.function()  # it had just run out, and comes too late
    assert builders._spare is first and first.poll() is None


def test_databases_have_builders_of_their_own(tmp_path, ran):
    with filled(tmp_path / "one") as one, filled(tmp_path / "other") as other:
        one.create_index("c", IVF)
        other.create_index("c", IVF)
        first, second = waiting(one), waiting(other)
        assert first.pid != second.pid
        one.close()
        assert first.returncode is not None and second.poll() is None
        other.create_index("c", SQ8)
        assert ran[-1] is second and second.returncode == 0


@on_linux
@pytest.mark.parametrize("end", ["", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_it_ends_with_a_program_that_closes_nothing(tmp_path, end):
    code = f"""
import os, sys
sys.path[:] = {sys.path!r}
from milvine.engine.database import Database
from milvine.types import IndexSetting, IndexType, MetricType
import numpy as np
database = Database.open({str(tmp_path)!r})
database.create_collection("c", 8, 1024, MetricType.L2)
rows = np.random.default_rng(1).random(({ROWS}, 8), dtype=np.float32)
database.insert("c", rows, np.arange({ROWS}))
database.create_index("c", IndexSetting.of(IndexType.IVF_FLAT, {{"nlist": 16}}))
print(database._parts.builders._spare.pid, flush=True)
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
    monkeypatch.setattr(process.Builders, "prepare", lambda self: prepared.append(self))
    with filled(tmp_path, settings) as database:
        database.create_collection("small", 8, 1024, MetricType.L2)
        database.insert("small", vectors()[:100], np.arange(100))
        database.create_index("small", IVF)
        database.create_index("c", IndexSetting.of(IndexType.FLAT, {}))
        assert not prepared
        database.create_index("c", IVF)
        assert bool(prepared) == settings.build_in_subprocess
        prepared.clear()
        database.create_index("c", IVF)  # it has it already
        assert not prepared


def test_where_memory_is_short_none_waits(builders, monkeypatch):
    monkeypatch.setattr(process, "memory_left", lambda: WAITING_BUILDER_BYTES)
    builders.prepare()
    waited = builders._spare
    assert waited.poll() is None
    monkeypatch.setattr(process, "memory_left", lambda: WAITING_BUILDER_BYTES - 1)
    builders.prepare()
    assert builders._spare is None and waited.returncode is not None


def test_where_no_process_can_be_started_none_waits(builders, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    builders.prepare()
    assert builders._spare is None


@pytest.mark.parametrize("given", [None, "3"])
def test_the_threads_of_numpy_are_bounded_and_those_of_faiss_as_they_were(given):
    name = "OPENBLAS_NUM_THREADS"
    around = {key: value for key, value in os.environ.items() if key != name} | (
        {name: given} if given else {}
    )
    seen = process._START.replace("import numpy\n", "import numpy\nprint(os.environ[name])\n")
    code = seen.replace("sys.exit(main())", "print(os.environ.get(name))")
    told = subprocess.run(running(code), env=around, stdout=subprocess.PIPE)
    assert told.stdout.decode().split() == [given or "1", str(given)]


@on_linux
def test_the_system_ends_a_builder_before_its_parent_when_memory_ends(builders):
    builders.prepare()
    score = Path(f"/proc/{builders._spare.pid}/oom_score_adj")
    until(lambda: score.read_text().strip() == "1000")
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 1000


def test_a_builder_that_is_killed_says_what_it_may_be_and_hurts_nothing(tmp_path, monkeypatch):
    killed = INSTEAD.format("os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(process, "_START", killed)
    with filled(tmp_path) as database:
        with pytest.raises(
            BuildFailed,
            match=r"^Cannot build .*: the builder ended with code -9 \(out of memory\?\)$",
        ):
            database.create_index("c", IVF)
        assert not database.stores.builds
        assert database.search("c", Query(vectors()[:3], 1, {"nprobe": 1})).ids[:, 0].tolist() == [
            0,
            1,
            2,
        ]
        monkeypatch.undo()
        database.create_index("c", IVF)
        (segment,) = database.stats("c").partitions[0].segments
        assert segment.index_name == "IVFFLAT"


@on_linux
def test_what_a_terminal_tells_all_processes_is_not_for_builders(tmp_path):
    with filled(tmp_path) as database:
        database._parts.builders.prepare()
        spare = waiting(database)
        ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        mask = sum(1 << (number - 1) for number in ignored)
        status = Path(f"/proc/{spare.pid}/status")
        until(lambda: int(re.search(r"SigIgn:\s+(\w+)", status.read_text())[1], 16) & mask == mask)
        for number in ignored:
            spare.send_signal(number)
        database.create_index("c", IVF)
        assert spare.returncode == 0


def test_an_interrupted_build_is_ended_and_not_waited_for(monkeypatch):
    def interrupted(process, telling, stop):
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "_START", INSTEAD.format("import time; time.sleep(600)"))
    monkeypatch.setattr(process, "_wait", interrupted)
    started = process._started()
    with pytest.raises(KeyboardInterrupt):
        process._run(
            started, BuildSpec("", "", 1, "", 1, 8, 1, 2, "{}", 1, 60), untold, lambda: False
        )
    assert started.returncode == -signal.SIGKILL


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
    with filled(tmp_path, seen=seen) as database:
        database.create_index("c", IVF)
        built = [event for event in seen if isinstance(event, IndexBuilt)]
        assert len(built) == 1
        monkeypatch.setattr(
            process, "_START", INSTEAD.format("os.kill(os.getpid(), signal.SIGKILL)")
        )
        process.Builders.close(database._parts.builders)
        with pytest.raises(BuildFailed):
            database.create_index("c", SQ8)
        assert [event for event in seen if isinstance(event, IndexBuilt)] == built
        query = Query(vectors()[:1], 1, {"nprobe": 16})
        assert database.search("c", query).ids.tolist() == [[0]]
